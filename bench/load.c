/* Load generator: one fixed request, or a list of paths once through, over N keep-alive connections. HTTP/1.1, one epoll loop.
 *
 *   load ADDRESS PORT CONNECTIONS SECONDS METHOD PATH EXPECTED [HEADER...]
 *
 * PATH "@FILE": a path per line; each is asked for once and the run ends with the list (SECONDS is then a cap).
 * EXPECTED: length every body must have, -1: any. For HEAD it is the length that Content-Length must tell.
 * Prints one JSON object: requests, non2xx, resets, short, bytes, seconds, p50_us, p99_us, cpu_s.
 * A 3xx counts as good when EXPECTED is -3 (redirect rows).
 * Called by bench/clients.py, which compiles it.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { HEAD_MAX = 16384, BUFFER = 262144, LATENCIES = 4 << 20 };
enum phase { IN_HEAD, IN_BODY, IN_CHUNK_SIZE, IN_CHUNK, IN_TRAILER };

struct connection {
    int fd, status, closing;
    enum phase phase;
    char head[HEAD_MAX];
    size_t head_length, line_length;
    char line[64];
    int64_t left, got;
    uint64_t started;
    const char *request;
    size_t request_length, sent;
};

static struct sockaddr_in address;
static int is_head, list_mode;
static int64_t expected;
static char **requests;
static size_t *request_lengths, request_count, next_request;
static uint64_t done_count, non2xx, resets, short_bodies, bytes;
static uint32_t *latencies;
static size_t latency_count;
static size_t busy;
static char buffer[BUFFER];

static uint64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void watch(int epoll, struct connection *c, int add, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = c};
    if (epoll_ctl(epoll, add ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, c->fd, &event) < 0) fail("epoll_ctl");
}

static void connect_again(int epoll, struct connection *c) {
    if (c->fd >= 0) close(c->fd);
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&address, sizeof address) < 0) fail("connect");
    int one = 1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    watch(epoll, c, 1, EPOLLIN);
}

/* Sends the next request; false when the list is used up. */
static int ask(int epoll, struct connection *c) {
    if (list_mode && next_request >= request_count) {
        busy--;
        c->request = NULL;
        return 0;
    }
    size_t i = next_request++ % request_count;
    c->request = requests[i];
    c->request_length = request_lengths[i];
    c->sent = 0;
    c->phase = IN_HEAD;
    c->head_length = c->line_length = 0;
    c->got = c->closing = 0;
    c->started = now_us();
    ssize_t n = send(c->fd, c->request, c->request_length, MSG_NOSIGNAL);
    if (n > 0) c->sent = (size_t)n;
    if (c->sent < c->request_length) watch(epoll, c, 0, EPOLLIN | EPOLLOUT);
    return 1;
}

static void finish(int epoll, struct connection *c) {
    int good = (c->status >= 200 && c->status < 300) || (expected == -3 && c->status >= 300 && c->status < 400);
    if (latency_count < LATENCIES) latencies[latency_count++] = (uint32_t)(now_us() - c->started);
    done_count++;
    if (!good) non2xx++;
    else if (expected >= 0 && (is_head ? c->left : c->got) != expected) short_bodies++;
    if (c->closing) connect_again(epoll, c);
    ask(epoll, c);
}

/* Reads status and framing of a complete head. */
static void parse_head(struct connection *c) {
    c->status = atoi(c->head + 9);
    c->left = 0;
    int chunked = 0;
    for (char *line = strstr(c->head, "\r\n"); line && line[2] != '\r'; line = strstr(line + 2, "\r\n")) {
        char *field = line + 2;
        if (!strncasecmp(field, "content-length:", 15)) c->left = atoll(field + 15);
        else if (!strncasecmp(field, "transfer-encoding: chunked", 26)) chunked = 1;
        else if (!strncasecmp(field, "connection: close", 17)) c->closing = 1;
    }
    c->phase = chunked ? IN_CHUNK_SIZE : IN_BODY;
}

/* Feeds n bytes at p; returns 1 when the response ended (p must be used up then: we never pipeline). */
static int feed(struct connection *c, const char *p, size_t n) {
    while (n) {
        if (c->phase == IN_HEAD) {
            size_t take = n < HEAD_MAX - 1 - c->head_length ? n : HEAD_MAX - 1 - c->head_length;
            if (!take) fail("head too long");
            size_t before = c->head_length;
            memcpy(c->head + before, p, take);
            c->head[before + take] = 0;
            char *end = strstr(c->head + (before > 3 ? before - 3 : 0), "\r\n\r\n");
            if (!end) {
                c->head_length += take;
                p += take, n -= take;
                continue;
            }
            size_t used = (size_t)(end + 4 - c->head) - before;
            p += used, n -= used;
            end[2] = 0;
            end[4] = 0;
            parse_head(c);
            if (is_head || (c->phase == IN_BODY && c->left == 0)) return 1;
        } else if (c->phase == IN_BODY || c->phase == IN_CHUNK) {
            size_t take = (int64_t)n < c->left ? n : (size_t)c->left;
            c->got += (int64_t)take;
            bytes += take;
            c->left -= (int64_t)take;
            p += take, n -= take;
            if (c->left == 0) {
                if (c->phase == IN_BODY) return 1;
                c->got -= 2; /* the line end that closes a chunk */
                c->phase = IN_CHUNK_SIZE;
            }
        } else {
            char byte = *p++;
            n--;
            if (c->line_length < sizeof c->line - 1) c->line[c->line_length++] = byte;
            if (byte != '\n') continue;
            c->line[c->line_length] = 0;
            size_t length = c->line_length;
            c->line_length = 0;
            if (c->phase == IN_TRAILER) {
                if (length == 2) return 1;
            } else {
                long size = strtol(c->line, NULL, 16);
                c->left = size + 2;
                c->phase = size ? IN_CHUNK : IN_TRAILER;
            }
        }
    }
    return 0;
}

static void readable(int epoll, struct connection *c) {
    for (int turns = 0; turns < 8; turns++) {
        ssize_t n = recv(c->fd, buffer, sizeof buffer, 0);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
        if (n <= 0) {
            if (c->request) {
                resets++;
                if (c->phase != IN_HEAD) short_bodies++;
            }
            connect_again(epoll, c);
            if (c->request) ask(epoll, c);
            return;
        }
        if (!c->request) return;
        if (feed(c, buffer, (size_t)n)) {
            finish(epoll, c);
            return;
        }
        if (n < (ssize_t)sizeof buffer) return;
    }
}

static int compare(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void add_request(const char *method, const char *path, const char *tail) {
    requests = realloc(requests, (request_count + 1) * sizeof *requests);
    request_lengths = realloc(request_lengths, (request_count + 1) * sizeof *request_lengths);
    int n = asprintf(&requests[request_count], "%s %s HTTP/1.1\r\n%s\r\n", method, path, tail);
    if (n < 0) fail("asprintf");
    request_lengths[request_count++] = (size_t)n;
}

static void read_requests(int argc, char **argv) {
    char tail[8192];
    int used = snprintf(tail, sizeof tail, "Host: %s:%s\r\nUser-Agent: bench\r\n", argv[1], argv[2]);
    for (int i = 8; i < argc; i++) used += snprintf(tail + used, sizeof tail - (size_t)used, "%s\r\n", argv[i]);
    const char *path = argv[6];
    if (*path != '@') {
        add_request(argv[5], path, tail);
        return;
    }
    list_mode = 1;
    FILE *file = fopen(path + 1, "r");
    if (!file) fail(path + 1);
    char line[2048];
    while (fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = 0;
        if (*line) add_request(argv[5], line, tail);
    }
    fclose(file);
}

int main(int argc, char **argv) {
    if (argc < 8) {
        fprintf(stderr, "usage: load ADDRESS PORT CONNECTIONS SECONDS METHOD PATH EXPECTED [HEADER...]\n");
        return 2;
    }
    size_t connections = (size_t)atoi(argv[3]);
    uint64_t duration = (uint64_t)(atof(argv[4]) * 1e6);
    is_head = !strcmp(argv[5], "HEAD");
    expected = atoll(argv[7]);
    address.sin_family = AF_INET;
    address.sin_port = htons((uint16_t)atoi(argv[2]));
    if (inet_pton(AF_INET, argv[1], &address.sin_addr) != 1) fail(argv[1]);
    read_requests(argc, argv);
    latencies = malloc(LATENCIES * sizeof *latencies);
    struct connection *all = calloc(connections, sizeof *all);
    int epoll = epoll_create1(0);
    for (size_t i = 0; i < connections; i++) {
        all[i].fd = -1;
        connect_again(epoll, &all[i]);
    }
    uint64_t start = now_us(), stop = start + duration, now = start;
    busy = connections;
    for (size_t i = 0; i < connections; i++) ask(epoll, &all[i]);
    struct epoll_event events[256];
    while (busy && (now = now_us()) < stop) {
        int n = epoll_wait(epoll, events, 256, (int)((stop - now) / 1000 + 1));
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;
            if (events[i].events & EPOLLOUT) {
                ssize_t sent = send(c->fd, c->request + c->sent, c->request_length - c->sent, MSG_NOSIGNAL);
                if (sent > 0) c->sent += (size_t)sent;
                if (c->sent == c->request_length) watch(epoll, c, 0, EPOLLIN);
            }
            if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) readable(epoll, c);
        }
    }
    double seconds = (double)(now_us() - start) / 1e6;
    qsort(latencies, latency_count, sizeof *latencies, compare);
    uint32_t p50 = latency_count ? latencies[latency_count / 2] : 0;
    uint32_t p99 = latency_count ? latencies[latency_count * 99 / 100] : 0;
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    double cpu = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) + (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
    printf("{\"requests\":%llu,\"non2xx\":%llu,\"resets\":%llu,\"short\":%llu,\"bytes\":%llu,\"seconds\":%.6f,"
           "\"p50_us\":%u,\"p99_us\":%u,\"cpu_s\":%.6f}\n",
           (unsigned long long)done_count, (unsigned long long)non2xx, (unsigned long long)resets, (unsigned long long)short_bodies,
           (unsigned long long)bytes, seconds, p50, p99, cpu);
    return 0;
}
