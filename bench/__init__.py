"""`make bench`: how fast and how frugal we are beside docker-registry and nginx, in one run on one machine.

    __main__   arguments, order of the run, exit status
    rows/      one file per family of operations: reads, pushes, uploads, conditions (cold, slow fsync, auth, TLS ...), backends
    targets    what must be reached, per operation and neighbour
    stage      the servers and the work folder of one run
    measure    a sample, a series of interleaved rounds, ratios
    watch      processor time and memory of a process group
    clients    the load generators: load.c, push.c, wrk, and the uploader of large layers
    servers    docker-registry, nginx and ourselves as subprocesses, each in its own group; backends: S3 and PostgreSQL
    seed       the same bytes for everybody; seed_rows: rows straight into our database
    machine    what it ran on
    report     the table, and one JSON line per sample for history
    profile    where our time per request goes, by thread and function; layers: the same for small reads, by layer
    seed_scale a repository of 100,000 tags in a store of 1,000,000 blobs (part of `make soak`)

Only ratios inside one round are compared: absolute numbers move by a factor of two between runs. A round with one wrong
status, reset or short body is void. Nothing outlives the run but `.tools/` (compiled clients, history).
"""
