// What OpenAI's official client for Node makes of a server; argv: its base URL. One JSON on stdout.
import OpenAI from "openai";

const client = new OpenAI({ baseURL: process.argv[2], apiKey: "k", maxRetries: 0 });
const messages = [{ role: "user", content: "Say something." }];
const told = {};

async function tell(name, ask) {
  try {
    told[name] = await ask();
  } catch (error) {
    told[name] = { status: error.status, type: error.constructor.name, code: error.code };
  }
}

async function pieces(stream) {
  const all = [];
  for await (const piece of stream) all.push(piece);
  return all;
}

await tell("chat", () => client.chat.completions.create({ model: "fake", messages }));
await tell("chat stream", async () =>
  pieces(await client.chat.completions.create({ model: "fake", messages, stream: true })));
await tell("completion", () => client.completions.create({ model: "fake", prompt: "x" }));
await tell("response", () => client.responses.create({ model: "fake", input: "x" }));
await tell("response stream", async () =>
  pieces(await client.responses.create({ model: "fake", input: "x", stream: true })));
await tell("response by name", () => client.responses.retrieve("r1"));
await tell("response of nobody", () => client.responses.retrieve("r2"));
await tell("embedding", () => client.embeddings.create({ model: "fake", input: "x" }));
await tell("moderation", () => client.moderations.create({ input: "x" }));
await tell("transcription", async () =>
  client.audio.transcriptions.create({
    model: "fake",
    file: await OpenAI.toFile(Buffer.from("any bytes"), "a.wav"),
  }));
await tell("models", async () => (await client.models.list()).data);
await tell("model", () => client.models.retrieve("org/name"));
await tell("no model", () => client.models.retrieve("no/name"));
console.log(JSON.stringify(told));
