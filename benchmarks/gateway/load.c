/* HTTP load for benchmarks: one thread, epoll, loopback only. Prints one JSON object.
 *
 *     cc -O2 -std=c11 -o load load.c
 *     load [-c CONNECTIONS] [-d SECONDS] [-w WARM_UP] [-r RATE] [-n MOST] [-s] [-H 'NAME: VALUE']...
 *          [-k HEADERS] -b BODIES -p PORT PATH
 *
 *     -r  open loop: requests are due at a fixed rate and their latency counts from when they were
 *         due, whether or not a connection was free (no coordinated omission); without it a closed
 *         loop, in which each connection asks again once it is answered
 *     -s  answers are event streams: count events, time the first one, insist on [DONE]
 *     -b  a file with one JSON body a line; requests take them in turn
 *     -k  a file with one header a line; requests take them in turn as well
 *
 * Latencies are of requests due between warm-up and end; those that are due and not answered at the
 * end are still sent and awaited for 10 s, then `unsent` counts what is left.
 * `answered` and `events_answered` are those of the whole run, for who divides processor time. An
 * answer that is not 200, is empty, breaks off or lacks [DONE] is counted under `wrong` only. */

#include "series.h"
#include "wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { DRAIN_SECONDS = 10 };

typedef struct {
    int fd, busy, done; /* done: [DONE] was seen */
    nanoseconds due, first_event;
    long events;
    size_t scanned; /* bytes of the body in which events were looked for */
    Message response;
} Connection;

static struct {
    int connections, port, streams;
    double seconds, warm_up, rate;
    long most;
    const char *bodies, *callers, *path;
    Buffer headers;
} options = {.connections = 32, .seconds = 5, .warm_up = 1, .most = 1L << 40};

static struct {
    long status, empty, broken, unfinished;
} wrong;

static Buffer *requests;
static size_t request_count;
static Connection *connections, **idle;
static int idle_count, epoll;
static nanoseconds measure_from, measure_to, next_due;
static long sent, answered, finished_in_time, events_answered, events_in_time;
static Series latencies, first_events;

static void dial(Connection *connection) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)options.port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int on = 1;
    if (connection->fd >= 0) close(connection->fd);
    connection->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(connection->fd, (void *)&address, sizeof address)) fail("connect");
    setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    fcntl(connection->fd, F_SETFL, O_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, connection->fd, &event)) fail("epoll_ctl");
}

static void release(Connection *connection) {
    connection->busy = 0;
    idle[idle_count++] = connection;
}

/* Send the next body on an idle connection. A request of these sizes fits the socket's buffer. */
static void ask(nanoseconds due) {
    Connection *connection = idle[--idle_count];
    const Buffer *request = &requests[(size_t)sent++ % request_count];
    message_reset(&connection->response);
    connection->busy = 1;
    connection->done = 0;
    connection->due = due;
    connection->first_event = 0;
    connection->events = 0;
    connection->scanned = 0;
    for (int try = 0; try < 2; try++) { /* the server may just have closed an idle connection */
        ssize_t gone = send(connection->fd, request->bytes, request->length, MSG_NOSIGNAL);
        if (gone == (ssize_t)request->length) return;
        dial(connection);
    }
    wrong.broken++;
    release(connection);
}

/* Send what is due now. */
static void ask_all(void) {
    nanoseconds t = now();
    if (options.rate > 0) {
        for (; idle_count && next_due <= t && next_due < measure_to && sent < options.most;
             next_due += (nanoseconds)(1e9 / options.rate))
            ask(next_due);
    } else {
        while (idle_count && t < measure_to && sent < options.most) ask(now());
    }
}

/* Count the whole lines that have arrived; an event is a line that begins with `data:`. */
static void look_for_events(Connection *connection, nanoseconds t) {
    Buffer *body = &connection->response.body;
    for (char *end, *line; body->length > connection->scanned; connection->scanned += (size_t)(end - line) + 1) {
        line = body->bytes + connection->scanned;
        end = memchr(line, '\n', body->length - connection->scanned);
        if (!end) return;
        if (strncmp(line, "data:", 5)) continue;
        if (!strncmp(line + 5, " [DONE]", 7) || !strncmp(line + 5, "[DONE]", 6)) {
            connection->done = 1;
            continue;
        }
        if (!connection->events++) connection->first_event = t;
        if (t >= measure_from && t < measure_to) events_in_time++;
    }
}

/* Judge a complete answer. */
static void judge(Connection *connection, nanoseconds t) {
    const Message *response = &connection->response;
    int status = atoi(response->head.bytes + strcspn(response->head.bytes, " "));
    const char *keeps = header(response, "connection");
    if (status != 200) {
        if (!wrong.status++)
            fprintf(stderr, "first wrong answer: %.300s%.300s\n", response->head.bytes,
                    response->body.length ? response->body.bytes : "");
    } else if (!response->body.length) {
        wrong.empty++;
    } else if (options.streams && !connection->done) {
        wrong.unfinished++;
    } else {
        answered++;
        events_answered += connection->events;
        finished_in_time += t >= measure_from && t < measure_to;
        if (connection->due >= measure_from && connection->due < measure_to) {
            add(&latencies, t - connection->due);
            if (connection->events) add(&first_events, connection->first_event - connection->due);
        }
    }
    if (response->phase == UNTIL_CLOSE || (keeps && !strncasecmp(keeps, "close", 5))) dial(connection);
    release(connection);
}

static void closed(Connection *connection, nanoseconds t) {
    if (connection->busy && connection->response.phase == UNTIL_CLOSE) {
        judge(connection, t);
        return;
    }
    dial(connection);
    if (connection->busy) {
        wrong.broken++;
        release(connection);
    }
}

static void receive(Connection *connection) {
    static char bytes[262144];
    ssize_t got = recv(connection->fd, bytes, sizeof bytes, 0);
    nanoseconds t = now();
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) {
        closed(connection, t);
        return;
    }
    if (!connection->busy) return; /* nobody asked */
    feed(&connection->response, bytes, (size_t)got);
    if (options.streams) look_for_events(connection, t);
    if (connection->response.phase == COMPLETE) judge(connection, t);
}

/* The lines of a file, without their ends; an empty one is passed over. */
static size_t read_lines(const char *path, Buffer **lines) {
    FILE *file = fopen(path, "r");
    char *line = NULL;
    size_t room = 0, count = 0;
    if (!file) fail(path);
    for (ssize_t length; (length = getline(&line, &room, file)) > 0;) {
        if (line[length - 1] == '\n') length--;
        if (!length) continue;
        if (!(*lines = realloc(*lines, (count + 1) * sizeof **lines))) fail("memory");
        Buffer *read = &(*lines)[count++];
        *read = (Buffer){0};
        append(read, line, (size_t)length);
    }
    free(line);
    fclose(file);
    if (!count) fail("an empty file");
    return count;
}

/* One request for each body or each caller's header, whichever there are more of. */
static void make_requests(void) {
    Buffer *bodies = NULL, *callers = NULL;
    size_t body_count = read_lines(options.bodies, &bodies);
    size_t caller_count = options.callers ? read_lines(options.callers, &callers) : 0;
    request_count = caller_count > body_count ? caller_count : body_count;
    if (!(requests = calloc(request_count, sizeof *requests))) fail("memory");
    for (size_t i = 0; i < request_count; i++) {
        const Buffer *body = &bodies[i % body_count];
        appendf(&requests[i], "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n"
                "Content-Type: application/json\r\n%s%s%sContent-Length: %zu\r\n\r\n",
                options.path, options.port, options.headers.bytes ? options.headers.bytes : "",
                caller_count ? callers[i % caller_count].bytes : "", caller_count ? "\r\n" : "",
                body->length);
        append(&requests[i], body->bytes, body->length);
    }
}

static void read_options(int count, char **arguments) {
    int option;
    while ((option = getopt(count, arguments, "c:d:w:r:n:sH:k:b:p:")) > 0) switch (option) {
        case 'c': options.connections = atoi(optarg); break;
        case 'd': options.seconds = atof(optarg); break;
        case 'w': options.warm_up = atof(optarg); break;
        case 'r': options.rate = atof(optarg); break;
        case 'n': options.most = atol(optarg); break;
        case 's': options.streams = 1; break;
        case 'H': appendf(&options.headers, "%s\r\n", optarg); break;
        case 'k': options.callers = optarg; break;
        case 'b': options.bodies = optarg; break;
        case 'p': options.port = atoi(optarg); break;
        default: exit(2);
    }
    if (!options.bodies || !options.port || optind != count - 1 || options.connections < 1) {
        fprintf(stderr, "usage: load [options] -b BODIES -p PORT PATH; see the head of load.c\n");
        exit(2);
    }
    options.path = arguments[optind];
}

static void run(void) {
    nanoseconds started = now();
    measure_from = started + (nanoseconds)(options.warm_up * 1e9);
    measure_to = measure_from + (nanoseconds)(options.seconds * 1e9);
    next_due = started;
    for (;;) {
        ask_all();
        nanoseconds t = now();
        int under_way = options.connections - idle_count;
        int over = t >= measure_to || sent >= options.most;
        if (over && (!under_way || t > measure_to + DRAIN_SECONDS * 1000000000LL)) break;
        nanoseconds wait = 20000000;
        if (options.rate > 0 && idle_count && !over && next_due - t < wait) wait = next_due - t;
        struct timespec limit = {0, wait > 0 ? wait : 0};
        struct epoll_event events[256];
        int ready = epoll_pwait2(epoll, events, 256, &limit, NULL);
        for (int i = 0; i < ready; i++) receive(events[i].data.ptr);
    }
}

/* Requests that were due and never sent: the server was far from keeping up with the rate. */
static long unsent(void) {
    if (options.rate <= 0 || sent >= options.most || next_due >= measure_to) return 0;
    return (long)((double)(measure_to - next_due) * options.rate / 1e9);
}

static void report(void) {
    double total = 0;
    qsort(latencies.values, latencies.count, sizeof(nanoseconds), ascending);
    qsort(first_events.values, first_events.count, sizeof(nanoseconds), ascending);
    for (size_t i = 0; i < latencies.count; i++) total += (double)latencies.values[i] / 1e6;
    printf("{\"rps\":%.1f,\"answered\":%ld,\"measured\":%zu,\"unanswered\":%d,\"unsent\":%ld,",
           (double)finished_in_time / options.seconds, answered, latencies.count,
           options.connections - idle_count, unsent());
    printf("\"latency_ms\":{\"p50\":%.4f,\"p90\":%.4f,\"p99\":%.4f,\"max\":%.4f,\"mean\":%.4f},",
           quantile(&latencies, 0.5), quantile(&latencies, 0.9), quantile(&latencies, 0.99),
           quantile(&latencies, 1), latencies.count ? total / (double)latencies.count : 0);
    printf("\"events_answered\":%ld,\"events_per_s\":%.1f,", events_answered,
           (double)events_in_time / options.seconds);
    printf("\"first_event_ms\":{\"p50\":%.4f,\"p99\":%.4f},", quantile(&first_events, 0.5),
           quantile(&first_events, 0.99));
    printf("\"wrong\":{\"status\":%ld,\"empty\":%ld,\"broken\":%ld,\"unfinished\":%ld}}\n",
           wrong.status, wrong.empty, wrong.broken, wrong.unfinished);
}

int main(int count, char **arguments) {
    read_options(count, arguments);
    signal(SIGPIPE, SIG_IGN);
    make_requests();
    epoll = epoll_create1(0);
    connections = calloc((size_t)options.connections, sizeof *connections);
    idle = calloc((size_t)options.connections, sizeof *idle);
    if (!connections || !idle) fail("memory");
    for (int i = 0; i < options.connections; i++) {
        connections[i].fd = -1;
        connections[i].response.kind = RESPONSE;
        dial(&connections[i]);
        release(&connections[i]);
    }
    run();
    report();
    return 0;
}
