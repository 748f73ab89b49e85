// SPDX-License-Identifier: Apache-2.0
// The providers' own clients at the gateway, under every fault that it knows: what each makes of it (which error, which result, how
// many requests), as the client tells it and as the gateway saw it. The faults are the plugins', each proven before it is used.
import assert from "node:assert/strict";
import { test } from "node:test";

import { clients, outcome } from "./calls.mjs";
import { withGateway } from "./gateway.mjs";

globalThis.AI_SDK_LOG_WARNINGS = false;
console.error = () => {}; // a client that prints what it cannot parse

const isAi = (client) => client.startsWith("ai ");
const isClaude = (client) => client.startsWith("anthropic");
const isStream = (client) => client.endsWith("stream");

// One for each: openai's, anthropic's, the AI SDK's.
const errors = (openai, anthropic, ai) => (client) => ({ error: isAi(client) ? ai : isClaude(client) ? anthropic : openai });
const done = () => ({ text: "done" });
const throttled = (client) => ({
	...errors("RateLimitError", "RateLimitError", "RetryError")(client),
	status: 429,
	...(client.startsWith("openai") && { code: "rate_limit_exceeded" }),
	...(isClaude(client) && { type: "rate_limit_error" }),
});
const provider = (...parameters) => ["provider-error", ...parameters];
const failed = (status, anthropic) => (client) => ({
	...errors("InternalServerError", anthropic, "RetryError")(client),
	status,
});

// expect(client): what must be in its outcome. requests: how many the gateway saw. gap_s: at least so long from the first to the second.
const cases = {
	"no fault": { fault: null, tools: true, expect: () => ({ tool: "read_file", arguments: '{"path":"README.md"}' }), requests: 1 },
	"429 with Retry-After": { fault: ["rate-limit", "retry-after=300ms"], expect: throttled, requests: 2, gap_s: 0.3 },
	"429 without": { fault: ["rate-limit", "header=false"], expect: throttled, requests: 2, gap_s: 0.3 },
	// Nobody waits for thirty years, and openai's does not wait at all: a timer of more than 2^31 ms goes off at once.
	"429 with an absurd one": { fault: ["rate-limit", "says=1000000000"], expect: throttled, requests: 2 },
	"429 with one that is no time": { fault: ["rate-limit", "says=soon"], expect: throttled, requests: 2 },
	"429 with one in the past": { fault: ["rate-limit", "says=-5"], expect: throttled, requests: 2 },
	"500": { fault: provider(), expect: failed(500, "InternalServerError"), requests: 2 },
	"503": { fault: provider("status=503"), expect: failed(503, "ServiceUnavailableError"), requests: 2 },
	"529": { fault: provider("status=529"), expect: failed(529, "OverloadedError"), requests: 2 },
	"401": {
		fault: provider("status=401"),
		expect: (client) => ({ ...errors("AuthenticationError", "AuthenticationError", "APICallError")(client), status: 401 }),
		requests: 1,
	},
	"a late answer": { fault: provider("kind=delay", "delay=300ms"), expect: done, requests: 1, lasts_s: 0.3 },
	"no answer": {
		fault: provider("kind=hang"),
		patience_ms: 1000,
		expect: (client) =>
			isAi(client)
				? { name: "TimeoutError" }
				: { error: "APIConnectionTimeoutError" },
		requests: (client) => (isAi(client) ? 1 : 2),
	},
	"a reset connection": {
		fault: provider("kind=reset"),
		expect: errors("APIConnectionError", "APIConnectionError", "RetryError"),
		requests: 2,
	},
	// No client of the providers' asks again once it has a status of 200.
	"half an answer": {
		fault: provider("kind=truncated"),
		expect: (client) => (isAi(client) ? {} : { error: isStream(client) ? (isClaude(client) ? "AnthropicError" : "OpenAIError") : "TypeError" }),
		fails: true,
		requests: (client) => (isAi(client) ? undefined : 1),
	},
	"a slow answer": { fault: provider("kind=slow", "delay=30ms"), expect: done, requests: 1, lasts_s: 0.12 },
	"an answer that is not JSON": {
		fault: provider("kind=malformed"),
		expect: (client) =>
			isAi(client)
				? { error: isStream(client) ? "JSONParseError" : "APICallError" }
				: { error: isStream(client) ? (isClaude(client) ? "AnthropicError" : "OpenAIError") : "SyntaxError" },
		requests: 1,
	},
	"an error in the stream": {
		fault: provider("kind=broken-stream"),
		expect: (client) =>
			!isStream(client)
				? { text: "done" }
				: client === "openai responses stream"
					? { type: "error", code: "server_error" } // thrown as the event that it is
					: client === "openai chat stream"
						? { error: "APIError", type: "server_error" }
						: { type: "overloaded_error" },
		requests: 1,
	},
	"a wrong answer": { fault: provider("kind=wrong-content", "text=no"), expect: () => ({ text: "no" }), requests: 1 },
	"wrong usage": {
		fault: provider("kind=wrong-usage"),
		expect: done,
		check: (client, { usage }) => {
			assert.equal(usage.completion_tokens ?? usage.output_tokens ?? usage.outputTokens, 1e9);
			assert.equal(usage.prompt_tokens ?? usage.input_tokens ?? usage.inputTokens, 0);
		},
		requests: 1,
	},
	"a wrong tool": {
		fault: provider("kind=wrong-tool"),
		tools: true,
		expect: (client) => ({ tool: "no_such_tool", ...(isAi(client) && { invalid: true }) }),
		requests: 1,
	},
	"half of a tool's arguments": {
		fault: provider("kind=wrong-arguments"),
		tools: true,
		expect: (client) =>
			isAi(client)
				? { tool: "read_file", invalid: true }
				: client === "anthropic stream"
					? { tool: "read_file", arguments: "{}" } // it drops what it cannot parse
					: client === "anthropic"
						? { tool: "read_file", arguments: '{"INVALID_JSON":"{\\"path\\":\\"R"}' }
						: { tool: "read_file", arguments: '{"path":"R' },
		requests: 1,
	},
	"a prompt that is too long": {
		fault: provider("kind=context"),
		expect: (client) => ({
			...errors("BadRequestError", "BadRequestError", "APICallError")(client),
			status: 400,
			...(client.startsWith("openai") && { code: "context_length_exceeded" }),
			...(isClaude(client) && { type: "invalid_request_error" }),
		}),
		requests: 1,
	},
	"an old key": {
		fault: ["key-rotation", "key=new"],
		expect: (client) => ({ ...errors("AuthenticationError", "AuthenticationError", "APICallError")(client), status: 401 }),
		requests: 1,
	},
	"a new key": { fault: ["key-rotation", "key=new"], key: "new", expect: done, requests: 1 },
};

function compare(client, what, result, ops) {
	const requests = typeof what.requests === "function" ? what.requests(client) : what.requests;
	const shown = `${client}: ${JSON.stringify(result)}, the gateway saw ${JSON.stringify(ops)}`;

	for (const [member, value] of Object.entries(what.expect(client))) assert.equal(result[member], value, `${member} of ${shown}`);
	if (what.fails) assert.ok(result.error, shown);
	if (what.check) what.check(client, result);
	if (requests !== undefined) assert.equal(ops.length, requests, shown);
	if (what.gap_s) assert.ok(ops[1].begin_s - ops[0].begin_s >= what.gap_s, shown);
	if (what.lasts_s) assert.ok(ops[0].time_s - ops[0].begin_s >= what.lasts_s, shown);
}

test("clients", { concurrency: 4 }, async (t) => {
	await Promise.all(
		Object.entries(cases).map(([name, what]) =>
			t.test(name, () =>
				withGateway(what.fault, ({ url, seen }) =>
					Promise.all(
						clients.map(async (client) => {
							const task = client.replaceAll(" ", "-");
							const to = { url, task, key: what.key ?? "old", tools: what.tools, patience_ms: what.patience_ms ?? 60000 };
							const result = await outcome(client, to);

							compare(client, what, result, await seen(task));
						}),
					),
				),
			),
		),
	);
});
