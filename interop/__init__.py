"""`python -m interop`: real clients against a real server; a client that is missing is named as not run, never counted as passed.

    install.py    gets the clients (Debian packages as root, Go programs into .tools/bin)
    sandbox.py    a private view of /etc, /var/lib and /run, so that nothing of this machine is written
    kit.py        what one run stands on: work folder, servers, certificates, content to push
    clients/      one file per client, each a list of scenarios
    layout.py     the same folder served by us and by docker-registry in turn
    outcome.py    what became of each scenario, and the table at the end

Nothing here imports cargohold: the server is only what its command line and its wire show.
"""
