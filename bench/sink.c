/* sink: a single-threaded epoll LMTP server that takes every message and keeps none.
 *
 *   cc -O2 -o sink sink.c
 *   sink ADDR PORT [ADDR PORT]...
 *
 * Prints "ready", then at each SIGUSR1 one line of JSON about what came since the last: transactions and recipients of each
 * listener, and how long messages took from the time in their header `X-Sent: NANOSECONDS` (of CLOCK_MONOTONIC, put there by
 * loadgen as it writes the final dot) to the reply here.  Lists PIPELINING and CHUNKING, as Posthouse's and Dovecot's stores do;
 * Postfix's client makes no use of the second.  Loopback addresses only.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#define MOST 4
#define LATENCIES (1 << 20)
#define TAG "\nX-Sent: "

struct conn {
    int fd, listener, rcpts, body, inlen;
    long chunk;                           /* octets still to come of a message sent by BDAT */
    double sent;                          /* of the message being read, 0 when not found yet */
    char in[65536 + 1];
};

static int ep, listeners, fds[MOST];
static long transactions[MOST], recipients[MOST], known;
static double lat[LATENCIES];
static char out[1 << 20];
static size_t outlen;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static int cmpd(const void *a, const void *b) {
    double x = *(double *)a, y = *(double *)b;
    return x < y ? -1 : x > y;
}

static void report(void) {
    qsort(lat, known, sizeof *lat, cmpd);
#define Q(p) (known ? lat[(long)((known - 1) * (p))] * 1e3 : 0.0)
    printf("{\"timed\": %ld, \"p50_ms\": %.3f, \"p99_ms\": %.3f, \"transactions\": [", known, Q(.5), Q(.99));
    for (int i = 0; i < listeners; i++) printf("%s%ld", i ? ", " : "", transactions[i]);
    printf("], \"recipients\": [");
    for (int i = 0; i < listeners; i++) printf("%s%ld", i ? ", " : "", recipients[i]);
    printf("]}\n");
    fflush(stdout);
    known = 0;
    memset(transactions, 0, sizeof transactions);
    memset(recipients, 0, sizeof recipients);
}

static void say(const char *text, int times) {
    for (size_t each = strlen(text); times > 0 && outlen + each < sizeof out; times--, outlen += each) memcpy(out + outlen, text, each);
}

static void flush_out(struct conn *c) {
    for (size_t done = 0; done < outlen;) {
        ssize_t w = write(c->fd, out + done, outlen - done);
        if (w > 0) done += w;
        else if (errno != EAGAIN) break;  /* the read side will see the error */
    }
    outlen = 0;
}

static void command(struct conn *c, const char *line) {
    if (!strncasecmp(line, "LHLO", 4)) say("250-sink.bench.test\r\n250-PIPELINING\r\n250-CHUNKING\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES\r\n", 1);
    else if (!strncasecmp(line, "RCPT", 4)) { c->rcpts++; say("250 2.1.5 Ok\r\n", 1); }
    else if (!strncasecmp(line, "DATA", 4)) { c->body = 1; c->sent = 0; say("354 End data with <CR><LF>.<CR><LF>\r\n", 1); }
    else if (!strncasecmp(line, "BDAT", 4)) { c->body = 3; c->sent = 0; c->chunk = atol(line + 4); }
    else if (!strncasecmp(line, "QUIT", 4)) { say("221 2.0.0 Bye\r\n", 1); flush_out(c); shutdown(c->fd, SHUT_WR); }
    else { if (!strncasecmp(line, "RSET", 4) || !strncasecmp(line, "MAIL", 4)) c->rcpts = 0; say("250 2.0.0 Ok\r\n", 1); }
}

/* The message is here: count it and answer for each recipient. */
static void done(struct conn *c) {
    transactions[c->listener]++;
    recipients[c->listener] += c->rcpts;
    if (c->sent > 0 && known < LATENCIES) lat[known++] = now() - c->sent;
    c->body = 0;
    say("250 2.0.0 Ok\r\n", c->rcpts);
    c->rcpts = 0;
}

/* Take what stands in the buffer from p on; the first octet not taken. */
static char *take(struct conn *c, char *p, char *end) {
    if (!c->body) {
        char *e = memchr(p, '\n', end - p);
        if (!e) return NULL;
        *e = 0;
        command(c, p);
        return e + 1;
    }
    if (!c->sent) {
        char *tag = memmem(p, end - p, TAG, strlen(TAG));
        if (tag && memchr(tag + 1, '\n', end - tag - 1)) c->sent = strtod(tag + strlen(TAG), NULL) / 1e9;
    }
    if (c->body == 3) {
        long here = end - p < c->chunk ? end - p : c->chunk;
        if (!(c->chunk -= here)) done(c);
        return p + here;
    }
    char *dot = end - p >= 3 && !memcmp(p, ".\r\n", 3) && c->body == 1 ? p - 2 : memmem(p, end - p, "\r\n.\r\n", 5);
    if (!dot) {                           /* the last octets may be the first ones of the end, or of the time */
        if (end - p <= 64) return NULL;
        c->body = 2;
        return end - 64;
    }
    done(c);
    return dot + 5;
}

static void readable(struct conn *c) {
    ssize_t r = read(c->fd, c->in + c->inlen, sizeof c->in - 1 - c->inlen);
    if (r < 0 && errno == EAGAIN) return;
    if (r <= 0) { close(c->fd); free(c); return; }
    char *p = c->in, *end = c->in + c->inlen + r, *next;
    while (p < end && (next = take(c, p, end))) p = next;
    c->inlen = end - p;
    memmove(c->in, p, c->inlen);
    flush_out(c);
}

static void open_conn(int listener) {
    int fd = accept4(fds[listener], NULL, NULL, SOCK_NONBLOCK), one = 1;
    if (fd < 0) return;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct conn *c = calloc(1, sizeof *c);
    c->fd = fd;
    c->listener = listener;
    struct epoll_event e = {EPOLLIN, {.ptr = c}};
    epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
    say("220 sink.bench.test LMTP\r\n", 1);
    flush_out(c);
}

int main(int argc, char **argv) {
    ep = epoll_create1(0);
    for (int i = 1; i + 1 < argc && listeners < MOST; i += 2, listeners++) {
        struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[i + 1]))};
        if (strncmp(argv[i], "127.", 4)) { fprintf(stderr, "loopback only\n"); return 2; }
        inet_pton(AF_INET, argv[i], &a.sin_addr);
        int fd = fds[listeners] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        if (bind(fd, (void *)&a, sizeof a) < 0 || listen(fd, 1024) < 0) { perror(argv[i]); return 2; }
        struct epoll_event e = {EPOLLIN, {.ptr = &fds[listeners]}};
        epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
    }
    sigset_t asked;
    sigemptyset(&asked);
    sigaddset(&asked, SIGUSR1);
    sigprocmask(SIG_BLOCK, &asked, NULL);
    int signals = signalfd(-1, &asked, SFD_NONBLOCK);
    struct epoll_event e = {EPOLLIN, {.ptr = &signals}};
    epoll_ctl(ep, EPOLL_CTL_ADD, signals, &e);
    signal(SIGPIPE, SIG_IGN);
    printf("ready\n");
    fflush(stdout);
    for (;;) {
        struct epoll_event ev[64];
        int k = epoll_wait(ep, ev, 64, -1);
        for (int i = 0; i < k; i++) {
            void *p = ev[i].data.ptr;
            if (p == (void *)&signals) {
                struct signalfd_siginfo info;
                while (read(signals, &info, sizeof info) > 0) report();
            } else if ((int *)p >= fds && (int *)p < fds + MOST) open_conn((int *)p - fds);
            else readable(p);
        }
    }
}
