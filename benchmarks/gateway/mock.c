/* A mock of vLLM for benchmarks: one thread, epoll, loopback only.
 *
 *     cc -O2 -std=c11 -o mock mock.c mock_server.c
 *     mock [-m MODEL] [-r ROOT] [-n EVENTS] [-f N] PORT[:DELAY_MS[:PAUSE_MS]]...
 *
 * Every PORT (0: a free one) is a replica of its own. DELAY_MS passes before an answer begins,
 * PAUSE_MS between the events of a stream. Prints {"ports":[...]} once it listens.
 *
 *     -m  the base model's name        -n  content events in a stream (64)
 *     -r  its folder, for /v1/models   -f  answer every N-th inference request with a 500
 *
 * POST any path ending in /chat/completions or /completions, whole or with "stream": true; ids are
 * unique, `model` is the one asked for, and one that is not served gets a 404, as in vLLM.
 * GET /health, /v1/models, /metrics; POST /v1/load_lora_adapter, /v1/unload_lora_adapter. */

#include "json.h"
#include "mock.h"

#include <signal.h>
#include <unistd.h>

enum { ANSWER_CHARACTERS = 640 };

static Replica replicas[MOST_REPLICAS];
static int event_count = 64, fail_every;
static const char *base_model = "bench-base", *base_root = "/nowhere";
static char text[ANSWER_CHARACTERS + 1];
static unsigned long long serial, process_id;

/* Queue a whole response. */
static void respond(Connection *connection, int status, const char *type, const Buffer *body) {
    appendf(&connection->out, "HTTP/1.1 %d %s\r\ncontent-type: %s\r\ncontent-length: %zu\r\n\r\n",
            status, status == 200 ? "OK" : "Error", type, body->length);
    append(&connection->out, body->bytes, body->length);
}

static void respond_text(Connection *connection, int status, const char *type, const char *said) {
    Buffer body = {(char *)said, strlen(said), 0};
    respond(connection, status, type, &body);
}

static void respond_error(Connection *connection, int status, const char *said) {
    char body[512];
    snprintf(body, sizeof body, "{\"error\":{\"message\":\"%s\",\"type\":\"%s\",\"param\":null,"
             "\"code\":%d}}", said, status < 500 ? "NotFoundError" : "InternalServerError", status);
    respond_text(connection, status, "application/json", body);
}

static Adapter *find_adapter(Replica *replica, const char *name) {
    for (int i = 0; i < replica->adapter_count; i++)
        if (!strcmp(replica->adapters[i].name, name)) return &replica->adapters[i];
    return NULL;
}

static void load_adapter(Connection *connection, const Buffer *body) {
    Replica *replica = connection->replica;
    Adapter loaded;
    json_string(body, "lora_name", loaded.name, sizeof loaded.name);
    json_string(body, "lora_path", loaded.path, sizeof loaded.path);
    if (!*loaded.name || find_adapter(replica, loaded.name)) {
        respond_error(connection, 400, "The lora adapter has already been loaded.");
    } else if (replica->adapter_count == MOST_ADAPTERS) {
        respond_error(connection, 500, "no room");
    } else {
        replica->adapters[replica->adapter_count++] = loaded;
        respond_text(connection, 200, "text/plain", "Success: LoRA adapter added successfully.");
    }
}

static void unload_adapter(Connection *connection, const Buffer *body) {
    Replica *replica = connection->replica;
    char name[160];
    json_string(body, "lora_name", name, sizeof name);
    Adapter *gone = find_adapter(replica, name);
    if (gone) *gone = replica->adapters[--replica->adapter_count];
    if (gone) respond_text(connection, 200, "text/plain", "Success: LoRA adapter removed.");
    else respond_error(connection, 404, "The lora adapter cannot be found.");
}

static void list_models(Connection *connection) {
    static Buffer body;
    body.length = 0;
    appendf(&body, "{\"object\":\"list\",\"data\":[{\"id\":\"%s\",\"object\":\"model\",\"root\":\"%s\","
            "\"parent\":null}", base_model, base_root);
    for (int i = 0; i < connection->replica->adapter_count; i++) {
        Adapter *adapter = &connection->replica->adapters[i];
        appendf(&body, ",{\"id\":\"%s\",\"object\":\"model\",\"root\":\"%s\",\"parent\":\"%s\"}",
                adapter->name, adapter->path, base_model);
    }
    append(&body, "]}", 2);
    respond(connection, 200, "application/json", &body);
}

static void tell_metrics(Connection *connection) {
    char body[512];
    snprintf(body, sizeof body, "vllm:num_requests_running{engine=\"0\",model_name=\"%s\"} 0.0\n"
             "vllm:num_requests_waiting{engine=\"0\",model_name=\"%s\"} 0.0\n", base_model,
             base_model);
    respond_text(connection, 200, "text/plain; version=0.0.4", body);
}

static void answer_whole(Connection *connection) {
    static Buffer body;
    body.length = 0;
    appendf(&body, "{\"id\":\"%s\",\"object\":\"%s\",\"created\":%ld,\"model\":\"%s\",\"choices\":[{"
            "\"index\":0,", connection->id, connection->is_chat ? "chat.completion" : "text_completion",
            (long)time(NULL), connection->model);
    if (connection->is_chat)
        appendf(&body, "\"message\":{\"role\":\"assistant\",\"content\":\"%s\"}", text);
    else
        appendf(&body, "\"text\":\"%s\"", text);
    appendf(&body, ",\"logprobs\":null,\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":24,"
            "\"total_tokens\":152,\"completion_tokens\":128}}");
    respond(connection, 200, "application/json", &body);
}

/* Queue one event as a chunk of its own. `choices` is the list's content. */
static void send_event(Connection *connection, const char *choices, const char *more) {
    static Buffer event;
    event.length = 0;
    appendf(&event, "data: {\"id\":\"%s\",\"object\":\"%s\",\"created\":%ld,\"model\":\"%s\","
            "\"choices\":[%s]%s}\n\n", connection->id,
            connection->is_chat ? "chat.completion.chunk" : "text_completion", (long)time(NULL),
            connection->model, choices, more);
    appendf(&connection->out, "%zx\r\n%s\r\n", event.length, event.bytes);
}

static void send_piece(Connection *connection, const char *piece, const char *finish) {
    char choice[256];
    const char *format = connection->is_chat
        ? "{\"index\":0,\"delta\":{%s\"content\":\"%s\"},\"logprobs\":null,\"finish_reason\":%s}"
        : "{\"index\":0,%s\"text\":\"%s\",\"logprobs\":null,\"finish_reason\":%s}";
    const char *role = connection->is_chat && !connection->next_event ? "\"role\":\"assistant\"," : "";
    snprintf(choice, sizeof choice, format, role, piece, finish);
    send_event(connection, choice, "");
}

/* The end of a stream: finish reason, usage if it was asked for, [DONE]. */
static void end_stream(Connection *connection) {
    char usage[128];
    send_piece(connection, "", "\"stop\"");
    snprintf(usage, sizeof usage, ",\"usage\":{\"prompt_tokens\":24,\"total_tokens\":%d,"
             "\"completion_tokens\":%d}", 24 + event_count, event_count);
    if (connection->wants_usage) send_event(connection, "", usage);
    appendf(&connection->out, "e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n");
    connection->busy = 0;
}

/* Event 0 carries the role, then come `event_count` pieces; the last one takes the end with it. */
static void step_stream(Connection *connection, nanoseconds due) {
    do {
        char piece[32] = "";
        if (connection->next_event) snprintf(piece, sizeof piece, "token%03d ", connection->next_event);
        send_piece(connection, piece, "null");
        if (++connection->next_event > event_count) end_stream(connection);
    } while (connection->busy && !connection->replica->pause);
    if (connection->busy) call_later(connection, due + connection->replica->pause);
}

/* A request's delay is over. */
static void begin_answer(Connection *connection, nanoseconds due) {
    if (!connection->streams) {
        connection->busy = 0;
        answer_whole(connection);
        return;
    }
    appendf(&connection->out, "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
            "transfer-encoding: chunked\r\n\r\n");
    connection->next_event = 0;
    step_stream(connection, due);
}

static void infer(Connection *connection, const Buffer *body, int is_chat) {
    json_string(body, "model", connection->model, sizeof connection->model);
    serial++;
    if (fail_every && serial % (unsigned)fail_every == 0) {
        respond_error(connection, 500, "told to fail");
        return;
    }
    if (strcmp(connection->model, base_model) && !find_adapter(connection->replica, connection->model)) {
        respond_error(connection, 404, "The model does not exist.");
        return;
    }
    snprintf(connection->id, sizeof connection->id, "%s-%016llx%016llx",
             is_chat ? "chatcmpl" : "cmpl", process_id, serial);
    connection->is_chat = is_chat;
    connection->streams = json_true(body, "stream");
    connection->wants_usage = json_true(body, "include_usage");
    connection->next_event = -1;
    connection->busy = 1;
    nanoseconds delay = connection->replica->delay;
    if (delay) call_later(connection, now() + delay);
    else begin_answer(connection, now());
}

void resume(Connection *connection, nanoseconds due) {
    if (connection->next_event < 0) begin_answer(connection, due);
    else step_stream(connection, due);
}

static int asks(const Message *request, const char *path) {
    size_t length = strcspn(request->head.bytes, "\r"), size = strlen(path);
    const char *found = memmem(request->head.bytes, length, path, size);
    return found && (found[size] == ' ' || found[size] == '?');
}

void serve(Connection *connection) {
    Message *request = &connection->request;
    if (asks(request, "/chat/completions")) infer(connection, &request->body, 1);
    else if (asks(request, "/completions")) infer(connection, &request->body, 0);
    else if (asks(request, "/load_lora_adapter")) load_adapter(connection, &request->body);
    else if (asks(request, "/unload_lora_adapter")) unload_adapter(connection, &request->body);
    else if (asks(request, "/models")) list_models(connection);
    else if (asks(request, "/metrics")) tell_metrics(connection);
    else if (asks(request, "/health")) respond_text(connection, 200, "text/plain", "");
    else respond_error(connection, 404, "Not Found");
}

static void read_options(int count, char **arguments) {
    int option;
    while ((option = getopt(count, arguments, "m:r:n:f:")) > 0) switch (option) {
        case 'm': base_model = optarg; break;
        case 'r': base_root = optarg; break;
        case 'n': event_count = atoi(optarg); break;
        case 'f': fail_every = atoi(optarg); break;
        default: exit(2);
    }
    if (optind == count || count - optind > MOST_REPLICAS) {
        fprintf(stderr, "usage: mock [-m MODEL] [-r ROOT] [-n EVENTS] [-f N] "
                "PORT[:DELAY_MS[:PAUSE_MS]]... (1 to %d)\n", MOST_REPLICAS);
        exit(2);
    }
}

int main(int count, char **arguments) {
    read_options(count, arguments);
    signal(SIGPIPE, SIG_IGN);
    process_id = (unsigned long long)now() ^ (unsigned long long)getpid() << 48;
    const char *words = "The quick brown fox jumps over the lazy dog and answers. ";
    for (int i = 0; i < ANSWER_CHARACTERS; i++) text[i] = words[i % (int)strlen(words)];
    printf("{\"ports\":[");
    for (int i = optind; i < count; i++) {
        Replica *replica = &replicas[i - optind];
        double delay = 0, pause = 0;
        sscanf(arguments[i], "%d:%lf:%lf", &replica->port, &delay, &pause);
        replica->delay = (nanoseconds)(delay * 1e6);
        replica->pause = (nanoseconds)(pause * 1e6);
        listen_on(replica);
        printf("%s%d", i == optind ? "" : ",", replica->port);
    }
    printf("]}\n");
    fflush(stdout);
    serve_forever();
}
