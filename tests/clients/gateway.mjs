// SPDX-License-Identifier: Apache-2.0
// A gateway in a process of its own, with one fault that a plugin has injected and proven; and what it saw of each client.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

const program = process.env.TRITONE;
const probe = JSON.stringify({
	model: "probe",
	stream: true,
	messages: [{ role: "user", content: "probe" }],
});

// Resolves with the first line of a stream for which `wanted` is true; `end` rejects it.
function line(stream, wanted, what) {
	return new Promise((resolve, reject) => {
		const seen = [];
		const lines = createInterface({ input: stream });
		lines.on("line", (text) => {
			seen.push(text);
			if (wanted(text)) resolve(text);
		});
		lines.on("close", () => reject(new Error(`${what} ended: ${seen.join("; ")}`)));
	});
}

async function stop(child, signal) {
	if (child.exitCode !== null || child.signalCode !== null) return;
	child.kill(signal);
	await once(child, "exit");
}

// A request whose answer is of no matter, and may never come.
async function ask(url, headers) {
	const signal = AbortSignal.timeout(150);
	await fetch(`${url}/model/v1/chat/completions`, { method: "POST", body: probe, headers, signal })
		.then((response) => response.text())
		.catch(() => {});
}

// The fault is in force once its plugin says that it was felt: until then, requests are made that may meet it.
async function inject(url, socket, directory, fault) {
	const child = spawn(program, ["inject", fault[0], "--control", socket, "--for", "5m", ...fault.slice(1)], {
		stdio: ["ignore", "pipe", "inherit"],
		env: { ...process.env, TRITONE_STATE: join(directory, "state") },
	});
	let felt = false;
	const proof = line(child.stdout, (text) => text.startsWith("felt"), `inject ${fault.join(" ")}`).then(() => {
		felt = true;
	});
	while (!felt) {
		await Promise.race([
			proof,
			ask(url, {}).then(() => Promise.race([proof, new Promise((resolve) => setTimeout(resolve, 20))])),
		]);
	}
	return child;
}

function startGateway(...options) {
	return spawn(program, ["gateway", "--providers", "model", "--seed", "1", ...options], {
		stdio: ["ignore", "pipe", "ignore"],
	});
}

function urlOf(gateway) {
	return line(gateway.stdout, (text) => text.startsWith("http://"), "the gateway");
}

// With CLIENTS_UPSTREAM=1 the gateway plays nothing: it asks another one.
async function withUpstream(body) {
	if (!process.env.CLIENTS_UPSTREAM) return await body();
	const upstream = startGateway("--quiet");
	try {
		return await body("--upstream", `model=${await urlOf(upstream)}/model`);
	} finally {
		await stop(upstream, "SIGTERM");
	}
}

// Calls `body({url, seen})`; seen(task) is what came of the requests of a task, in order.
export function withGateway(fault, body) {
	return withUpstream((...options) => withOptions(options, fault, body));
}

async function withOptions(options, fault, body) {
	const directory = await mkdtemp(join(tmpdir(), "tritone-clients-"));
	const socket = join(directory, "control"), log = join(directory, "log");
	const gateway = startGateway("--control", socket, "--log", log, ...options);
	let injected;
	try {
		const url = await urlOf(gateway);
		if (fault) injected = await inject(url, socket, directory, fault);
		return await body({
			url,
			// The log is in order, and a moment late: what came before a last request is in it once that is.
			seen: async (task) => {
				const last = `${task}-last`;
				let lines = [];
				while (!lines.some((op) => op.task === last)) {
					await ask(url, { "X-Task-Id": last });
					lines = (await readFile(log, "utf8")).split("\n").slice(0, -1).map((text) => JSON.parse(text));
				}
				return lines
					.filter((op) => op.type === "invoke" && op.task === task)
					.map((op) => ({ ...lines.find((end) => end.pair === op.index), begin_s: op.time_s }));
			},
		});
	} finally {
		if (injected) await stop(injected, "SIGINT");
		await stop(gateway, "SIGTERM");
		await rm(directory, { recursive: true, force: true });
	}
}
