/* Pusher: the requests of `docker push` for small images, one thread and one keep-alive connection per client.
 *
 *   push ADDRESS PORT CLIENTS SECONDS REPOSITORY PLAN [HEADER...]
 *
 * PLAN is a binary file of images, each four parts (config, layer, layer, manifest): 71 bytes of digest, 4 bytes of length
 * (big endian), the bytes. Per blob: HEAD (404), POST, PATCH (chunked), PUT; then PUT of the manifest by tag: 13 requests.
 * No image is begun after SECONDS; those under way are finished. The rate counts the requests answered in time.
 * Prints one JSON object: images, requests_in_time, bad, resets, seconds, p50_us, p99_us (of an image), cpu_s, exhausted.
 * Called by bench/clients.py, which compiles it.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { PARTS = 4, IMAGES = 65536, DIGEST = 71, REPLY = 65536 };

struct part {
    const char *digest, *data;
    uint32_t length;
};

struct client {
    int fd;
    char reply[REPLY];
    char location[4096];
};

static struct sockaddr_in address;
static const char *repository;
static char headers[4096];
static struct part images[IMAGES][PARTS];
static size_t image_count;
static uint32_t latencies[IMAGES];
static atomic_size_t next_image, finished, in_time, bad, resets;
static uint64_t deadline;

static uint64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void open_connection(struct client *c) {
    if (c->fd >= 0) close(c->fd);
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&address, sizeof address) < 0) fail("connect");
    int one = 1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

static void note_location(struct client *c, const char *value) {
    const char *scheme = strstr(value, "://"), *end = strstr(value, "\r\n");
    if (scheme && scheme < end) value = strchr(scheme + 3, '/');
    size_t length = (size_t)(end - value);
    if (length >= sizeof c->location) length = sizeof c->location - 1;
    memcpy(c->location, value, length);
    c->location[length] = 0;
}

/* One answer with Content-Length (or none); the status, 0 when the connection broke. */
static int answer(struct client *c, int head) {
    size_t have = 0;
    char *end = NULL;
    while (!end) {
        ssize_t n = recv(c->fd, c->reply + have, REPLY - 1 - have, 0);
        if (n <= 0) return 0;
        have += (size_t)n;
        c->reply[have] = 0;
        end = strstr(c->reply, "\r\n\r\n");
    }
    size_t left = 0, body = have - (size_t)(end + 4 - c->reply);
    int closing = 0;
    end[2] = 0;
    for (char *line = strstr(c->reply, "\r\n"); line; line = strstr(line + 2, "\r\n")) {
        if (!strncasecmp(line + 2, "content-length:", 15)) left = (size_t)atol(line + 17);
        else if (!strncasecmp(line + 2, "location: ", 10)) note_location(c, line + 12);
        else if (!strncasecmp(line + 2, "connection: close", 17)) closing = 1;
    }
    int status = atoi(c->reply + 9);
    while (!head && body < left) {
        ssize_t n = recv(c->fd, c->reply, REPLY, 0);
        if (n <= 0) return 0;
        body += (size_t)n;
    }
    if (closing) open_connection(c);
    return status;
}

/* One request; `prefix` and `suffix` frame a chunked body. True when the status was the wanted one. */
static int ask(struct client *c, const char *method, const char *target, const char *framing, const struct part *body, int wanted) {
    char head[8192], prefix[32] = "";
    int chunked = body && !strcmp(method, "PATCH");
    int n = snprintf(head, sizeof head, "%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: bench\r\n%s%s\r\n", method, target, "127.0.0.1", headers, framing);
    if (chunked) snprintf(prefix, sizeof prefix, "%x\r\n", body->length);
    struct iovec pieces[4] = {{head, (size_t)n}, {prefix, strlen(prefix)}, {NULL, 0}, {"\r\n0\r\n\r\n", chunked ? 7 : 0}};
    size_t total = (size_t)n + strlen(prefix) + (chunked ? 7 : 0);
    if (body) {
        pieces[2] = (struct iovec){(void *)body->data, body->length};
        total += body->length;
    }
    ssize_t sent = writev(c->fd, pieces, 4);
    int status = sent == (ssize_t)total ? answer(c, !strcmp(method, "HEAD")) : 0;
    if (now_us() <= deadline) atomic_fetch_add(&in_time, 1);
    if (status == wanted) return 1;
    atomic_fetch_add(status ? &bad : &resets, 1);
    if (status) fprintf(stderr, "%s %s: %d, not %d: %.300s\n", method, target, status, wanted, c->reply);
    open_connection(c);
    return 0;
}

static int push_blob(struct client *c, const struct part *blob) {
    char target[4400];
    snprintf(target, sizeof target, "/v2/%s/blobs/%.71s", repository, blob->digest);
    if (!ask(c, "HEAD", target, "", NULL, 404)) return 0;
    snprintf(target, sizeof target, "/v2/%s/blobs/uploads/", repository);
    if (!ask(c, "POST", target, "Content-Length: 0\r\n", NULL, 202)) return 0;
    memcpy(target, c->location, sizeof c->location);
    if (!ask(c, "PATCH", target, "Transfer-Encoding: chunked\r\nContent-Type: application/octet-stream\r\n", blob, 202)) return 0;
    snprintf(target, sizeof target, "%s%cdigest=%.71s", c->location, strchr(c->location, '?') ? '&' : '?', blob->digest);
    return ask(c, "PUT", target, "Content-Length: 0\r\n", NULL, 201);
}

static int push_image(struct client *c, size_t number) {
    for (int i = 0; i < PARTS - 1; i++)
        if (!push_blob(c, &images[number][i])) return 0;
    char target[512], framing[256];
    const struct part *manifest = &images[number][PARTS - 1];
    snprintf(target, sizeof target, "/v2/%s/manifests/t%.12s", repository, manifest->digest + 7);
    snprintf(framing, sizeof framing, "Content-Length: %u\r\nContent-Type: application/vnd.oci.image.manifest.v1+json\r\n", manifest->length);
    return ask(c, "PUT", target, framing, manifest, 201);
}

static void *run(void *argument) {
    struct client *c = argument;
    open_connection(c);
    while (now_us() < deadline) {
        size_t number = atomic_fetch_add(&next_image, 1);
        if (number >= image_count) break;
        uint64_t started = now_us();
        if (push_image(c, number)) latencies[atomic_fetch_add(&finished, 1)] = (uint32_t)(now_us() - started);
    }
    return NULL;
}

static void read_plan(const char *path) {
    int fd = open(path, O_RDONLY);
    struct stat stat;
    if (fd < 0 || fstat(fd, &stat) < 0) fail(path);
    const char *p = mmap(NULL, (size_t)stat.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0), *end = p + stat.st_size;
    if (p == MAP_FAILED) fail(path);
    for (; p < end && image_count < IMAGES; image_count++)
        for (int i = 0; i < PARTS; i++) {
            const unsigned char *n = (const unsigned char *)p + DIGEST;
            uint32_t length = (uint32_t)n[0] << 24 | (uint32_t)n[1] << 16 | (uint32_t)n[2] << 8 | n[3];
            images[image_count][i] = (struct part){p, p + DIGEST + 4, length};
            p += DIGEST + 4 + length;
        }
}

static int compare(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv) {
    if (argc < 7) {
        fprintf(stderr, "usage: push ADDRESS PORT CLIENTS SECONDS REPOSITORY PLAN [HEADER...]\n");
        return 2;
    }
    int clients = atoi(argv[3]);
    repository = argv[5];
    address.sin_family = AF_INET;
    address.sin_port = htons((uint16_t)atoi(argv[2]));
    if (inet_pton(AF_INET, argv[1], &address.sin_addr) != 1) fail(argv[1]);
    size_t used = 0;
    for (int i = 7; i < argc; i++) used += (size_t)snprintf(headers + used, sizeof headers - used, "%s\r\n", argv[i]);
    read_plan(argv[6]);
    pthread_t threads[256];
    struct client *all = calloc((size_t)clients, sizeof *all);
    uint64_t start = now_us();
    double seconds = atof(argv[4]);
    deadline = start + (uint64_t)(seconds * 1e6);
    for (int i = 0; i < clients; i++) {
        all[i].fd = -1;
        pthread_create(&threads[i], NULL, run, &all[i]);
    }
    for (int i = 0; i < clients; i++) pthread_join(threads[i], NULL);
    uint64_t stop = now_us();
    if (stop < deadline) seconds = (double)(stop - start) / 1e6;
    size_t count = finished;
    qsort(latencies, count, sizeof *latencies, compare);
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    double cpu = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) + (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
    printf("{\"images\":%zu,\"requests_in_time\":%zu,\"bad\":%zu,\"resets\":%zu,\"seconds\":%.6f,\"p50_us\":%u,\"p99_us\":%u,"
           "\"cpu_s\":%.6f,\"exhausted\":%s}\n",
           count, (size_t)in_time, (size_t)bad, (size_t)resets, seconds, count ? latencies[count / 2] : 0,
           count ? latencies[count * 99 / 100] : 0, cpu, next_image >= image_count + (size_t)clients ? "true" : "false");
    return 0;
}
