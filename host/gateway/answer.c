/* SPDX-License-Identifier: Apache-2.0 */
/* What becomes of a request once its body is here: held, hung, late, refused, or answered. Runs in the server's thread
 * only, and again for the same request after each wait. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/proxy/proxy.h"
#include "gateway/script.h"

/* ---- what to say ---- */

/* `counts`: the client will have the answer whole. */
static struct reply completion_reply(struct request *request, const char *id, bool counts)
{
	const struct gateway *gateway = request->gateway;
	struct completion completion = {0};
	struct reply reply = {0};

	if (gateway->script && request->asked.wire->talks)
		reply = script_reply(gateway->script, gateway->seed, &request->asked, id, counts, &completion);
	else if (request->asked.wire->talks)
		plan_complete(gateway->seed, &request->asked, &completion);
	else
		completion_count(&completion, &request->asked);
	if (!reply.body) {
		wrong_completion(request->verdict.action, request->verdict.text, &request->asked, &completion);
		reply = request->asked.wire->encode(gateway->seed, &request->asked, &completion);
	}
	completion_free(&completion);
	if (reply.ends)
		wrong_stream(request->verdict.action, request->asked.wire, &reply);
	return reply;
}

static struct reply usual(struct request *request, bool counts)
{
	char id[REQUEST_ID_SIZE];

	request_id(request, id);
	if (request->bad)
		return error_refuse(request_family(request), request->bad, NULL, id, "%s", request->bad_text);
	return request->route == ROUTE_SINK ? sink_ok() : completion_reply(request, id, counts);
}

static struct reply error_of(const struct request *request)
{
	const struct verdict *verdict = &request->verdict;
	const enum family family = request_family(request);
	char id[REQUEST_ID_SIZE];

	request_id(request, id);
	if (verdict->action == TRITONE_GATEWAY_TOO_LONG)
		return error_too_long(family, (int64_t)request->asked.size / 4, id);
	return error_reply(family, verdict->action == TRITONE_GATEWAY_KEY ? 401 : verdict->status,
	    verdict->retry_after_ms, request->key, id);
}

/* The client will not have it whole. */
static bool breaks(uint32_t action)
{
	return action == TRITONE_GATEWAY_MALFORMED || action == TRITONE_GATEWAY_BROKEN_STREAM ||
	       action == TRITONE_GATEWAY_TRUNCATED;
}

/* Hands it on in the rule's manner. */
static enum MHD_Result give(struct request *request, struct reply reply, struct manner manner)
{
	const uint32_t action = request->verdict.action;

	manner.pace_ms = request->verdict.pace_ms;
	manner.half = action == TRITONE_GATEWAY_TRUNCATED;
	if (action == TRITONE_GATEWAY_BROKEN_STREAM)
		request->lost = "error in the stream";
	return send_reply(request, reply, &manner);
}

void answer_spare(struct request *request)
{
	struct verdict *verdict = &request->verdict;

	if (!verdict->action)
		return;
	pthread_mutex_lock(&request->gateway->lock);
	gateway_rules_take_back(request->gateway->rules, verdict->tag);
	pthread_mutex_unlock(&request->gateway->lock);
	verdict->action = 0;
	verdict->pace_ms = 0;
	verdict->key[0] = '\0';
}

/* What makes a good answer wrong, and has nothing to do to one that is an error already. */
static bool needs_success(uint32_t action)
{
	return action == TRITONE_GATEWAY_MALFORMED || gateway_rules_for_models(action);
}

enum MHD_Result answer_with(struct request *request, struct reply reply, const struct header_list *headers)
{
	const struct verdict *verdict = &request->verdict;

	if (needs_success(verdict->action) && (reply.status >= 300 || (request->asked.stream && !reply.ends)))
		answer_spare(request);
	else if (verdict->action && reply.body)
		reshape(verdict->action, verdict->text, request->gateway->seed, &request->asked, &reply);
	proxy_tell(request, reply.status, headers);
	return give(request, reply, (struct manner){.retry_after_ms = request->retry_after_ms, .headers = headers});
}

static enum MHD_Result act(struct request *request)
{
	const struct verdict *verdict = &request->verdict;
	const struct manner manner = {.retry_after_ms = verdict->retry_after_ms};

	switch (verdict->action) {
	case TRITONE_GATEWAY_ANSWER:
	case TRITONE_GATEWAY_KEY:
	case TRITONE_GATEWAY_TOO_LONG:
		return send_reply(request, error_of(request), &manner);
	case TRITONE_GATEWAY_RESET:
		return send_reset(request, "reset");
	case TRITONE_GATEWAY_HANG:
		return send_reset(request, "never answered");
	case TRITONE_GATEWAY_MALFORMED:
		if (!request->asked.stream || request->bad)
			return send_reply(request, error_malformed(), &manner);
		break;
	default:
		break;
	}
	if (request->origin && request->bad != 413)
		return proxy_ask(request, verdict->action != 0);
	return give(request, usual(request, !breaks(verdict->action)), manner);
}

/* ---- its way ---- */

static void record(struct request *request, const char *detail)
{
	struct op op = {.pair = OP_NONE,
	    .type = OP_INVOKE,
	    .kind = request->route == ROUTE_CALL ? OP_CALL : OP_NOTIFY,
	    .task = request->task,
	    .actor = request->target,
	    .key = request->key,
	    .attempt = request->attempt,
	    .detail = detail};

	if (!request->gateway->history)
		return;
	request->invoke = history_append(request->gateway->history, &op);
	request->recorded = true;
}

/* True: it waits, and this request comes again. */
static bool hold(struct request *request)
{
	struct gateway *gateway = request->gateway;
	bool parked = false;
	uint64_t tag;

	pthread_mutex_lock(&gateway->lock);
	tag = holds_of(gateway->holds, request->id);
	if (tag)
		parked = park_put(gateway->park, &request->slot, request->connection, -1, tag);
	if (parked)
		request->stage = STAGE_HELD;
	pthread_mutex_unlock(&gateway->lock);
	return parked;
}

/* Asks the rules, now and not on arrival: a fault that was injected while the request was held is for it, too. */
static enum MHD_Result judge(struct request *request)
{
	struct gateway *gateway = request->gateway;
	struct verdict *verdict = &request->verdict;
	const bool model = request->route == ROUTE_CALL && !request->bad;
	const struct rules_shown shown = {.target = request->target,
	    .provider = request->route == ROUTE_CALL,
	    .spends = model && request->asked.wire != &wire_count_tokens,
	    .talks = model && request->asked.wire->talks,
	    .stream = request->asked.stream,
	    .api_key = request->api_key};
	int64_t now = park_now_us(), wait_ms;
	bool parked = false, closed;

	pthread_mutex_lock(&gateway->lock);
	closed = park_closed(gateway->park);
	gateway_rules_judge(gateway->rules, &shown, now, verdict);
	wait_ms = verdict->delay_ms;
	/* a real upstream takes its own time */
	if (model && (!request->origin || proxy_replays(request)) && verdict->action != TRITONE_GATEWAY_ANSWER &&
	    verdict->action != TRITONE_GATEWAY_RESET && verdict->action != TRITONE_GATEWAY_KEY &&
	    verdict->action != TRITONE_GATEWAY_TOO_LONG)
		wait_ms += gateway->latency_ms;
	if (verdict->action == TRITONE_GATEWAY_HANG) {
		request->stage = STAGE_HUNG;
		parked = park_put(gateway->park, &request->slot, request->connection, verdict->until_us, verdict->tag);
	} else if (wait_ms > 0) {
		request->stage = STAGE_LATE;
		parked = park_put(
		    gateway->park, &request->slot, request->connection, now + wait_ms * 1000, verdict->delay_tag);
	}
	pthread_mutex_unlock(&gateway->lock);
	if (closed) /* what was about to wait must not be answered instead */
		return send_reset(request, "the gateway was stopped");
	return parked ? MHD_YES : act(request);
}

static enum MHD_Result arrive(struct request *request)
{
	struct gateway *gateway = request->gateway;
	char held[128];

	if (request->route == ROUTE_PASS)
		return request->bad ? give(request, usual(request, false), (struct manner){.retry_after_ms = -1})
				    : proxy_ask(request, false);
	if (request->route == ROUTE_CALL)
		request_read_call(request);
	else
		request_read_sink(request);
	pthread_mutex_lock(&gateway->lock);
	holds_arrive(gateway->holds, request->target, request->route == ROUTE_CALL, request->id, held, sizeof held);
	pthread_mutex_unlock(&gateway->lock);
	record(request, held);
	if (*held && hold(request))
		return MHD_YES;
	return judge(request);
}

enum MHD_Result answer(struct request *request)
{
	enum park_why why;

	if (request->stage == STAGE_ARRIVED)
		return arrive(request);
	pthread_mutex_lock(&request->gateway->lock);
	why = request->slot.why;
	pthread_mutex_unlock(&request->gateway->lock);
	if (why == PARK_GONE)
		return MHD_NO;
	if (why == PARK_CLOSED) {
		request->lost = "the gateway was stopped";
		return MHD_NO;
	}
	if (request->stage == STAGE_ASKED)
		return proxy_answer(request);
	if (request->stage == STAGE_HELD)
		return hold(request) ? MHD_YES : judge(request);
	return act(request);
}
