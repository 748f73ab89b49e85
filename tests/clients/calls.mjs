// SPDX-License-Identifier: Apache-2.0
// One request by each of the providers' clients, as their documentation shows it, and what came of it in the same words for all.
import Anthropic from "@anthropic-ai/sdk";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { generateText, streamText, tool } from "ai";
import OpenAI from "openai";
import { z } from "zod";

const RETRIES = 1; // of each client, beside the first try
const schema = { type: "object", properties: { path: { type: "string" } }, required: ["path"] };

function openai({ url, task, key, patience_ms }) {
	return new OpenAI({
		baseURL: `${url}/model/v1`,
		apiKey: key,
		maxRetries: RETRIES,
		timeout: patience_ms,
		defaultHeaders: { "X-Task-Id": task },
	});
}

function anthropic({ url, task, key, patience_ms }) {
	return new Anthropic({
		baseURL: `${url}/model`,
		apiKey: key,
		maxRetries: RETRIES,
		timeout: patience_ms,
		defaultHeaders: { "X-Task-Id": task },
	});
}

const request = { model: "model", messages: [{ role: "user", content: "go" }] };
const message = { ...request, max_tokens: 100 };
const chatTools = [{ type: "function", function: { name: "read_file", parameters: schema } }];
const flatTools = [{ type: "function", name: "read_file", parameters: schema, strict: false }];
const claudeTools = [{ name: "read_file", input_schema: schema }];
const aiTools = { read_file: tool({ inputSchema: z.object({ path: z.string() }) }) };

const ofChat = (completion) => {
	const said = completion.choices[0].message;
	return { text: said.content, tool: said.tool_calls?.[0].function.name, arguments: said.tool_calls?.[0].function.arguments, usage: completion.usage };
};
const ofMessage = (said) => {
	const call = said.content.find((block) => block.type === "tool_use");
	return { text: said.content.find((block) => block.type === "text")?.text, tool: call?.name, arguments: call && JSON.stringify(call.input), usage: said.usage };
};
const ofAi = async (result) => {
	const calls = await result.toolCalls;
	return { text: await result.text, tool: calls[0]?.toolName, arguments: JSON.stringify(calls[0]?.input), invalid: calls[0]?.invalid, usage: await result.usage };
};

const calls = {
	"openai chat": async (to) =>
		ofChat(await openai(to).chat.completions.create({ ...request, ...(to.tools && { tools: chatTools }) })),
	"openai chat stream": async (to) =>
		ofChat(
			await openai(to)
				.chat.completions.stream({ ...request, ...(to.tools && { tools: chatTools }), stream_options: { include_usage: true } })
				.finalChatCompletion(),
		),
	"openai responses": async (to) => {
		const response = await openai(to).responses.create({ model: "model", input: "go", ...(to.tools && { tools: flatTools }) });
		const call = response.output.find((item) => item.type === "function_call");
		return { text: response.output_text, tool: call?.name, arguments: call?.arguments, usage: response.usage };
	},
	"openai responses stream": async (to) => {
		const stream = openai(to).responses.stream({ model: "model", input: "go", ...(to.tools && { tools: flatTools }) });
		const response = await stream.finalResponse();
		const call = response.output.find((item) => item.type === "function_call");
		return { text: response.output_text, tool: call?.name, arguments: call?.arguments, usage: response.usage };
	},
	"anthropic": async (to) =>
		ofMessage(await anthropic(to).messages.create({ ...message, ...(to.tools && { tools: claudeTools }) })),
	"anthropic stream": async (to) =>
		ofMessage(await anthropic(to).messages.stream({ ...message, ...(to.tools && { tools: claudeTools }) }).finalMessage()),
	"ai openai": async (to) =>
		ofAi(
			await generateText({
				model: createOpenAI({ baseURL: `${to.url}/model/v1`, apiKey: to.key, headers: { "X-Task-Id": to.task } })("model"),
				prompt: "go",
				maxRetries: RETRIES,
				abortSignal: AbortSignal.timeout(to.patience_ms),
				...(to.tools && { tools: aiTools }),
			}),
		),
	"ai anthropic stream": async (to) => {
		let failure;
		const result = streamText({
			model: createAnthropic({ baseURL: `${to.url}/model/v1`, apiKey: to.key, headers: { "X-Task-Id": to.task } })("claude-sonnet-4-5"),
			prompt: "go",
			maxOutputTokens: 100,
			maxRetries: RETRIES,
			abortSignal: AbortSignal.timeout(to.patience_ms),
			onError: ({ error }) => (failure ??= error),
			...(to.tools && { tools: aiTools }),
		});
		await result.consumeStream();
		if (failure) throw failure;
		return ofAi(result);
	},
};

// `to`: {url, task, key, tools, patience_ms}. What came of it: {text, tool, ...}, or {error: class, status, ...}; never throws.
export async function outcome(name, to) {
	try {
		return await calls[name](to);
	} catch (error) {
		const cause = error.lastError ?? error; // what the AI SDK has given up on
		return {
			error: error.name?.startsWith("AI_") ? error.name.slice(3) : error.constructor.name,
			name: error.name,
			status: cause.status ?? cause.statusCode,
			code: cause.code,
			type: cause.error?.error?.type ?? cause.type,
			message: cause.message,
		};
	}
}

export const clients = Object.keys(calls);
