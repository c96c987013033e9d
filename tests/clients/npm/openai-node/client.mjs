// A program that uses openai-node as a client: `node client.mjs URL MODEL PROMPT` prints the results as JSON.

import { readFile } from 'node:fs/promises';
import OpenAI from 'openai';

const [url, model, prompt] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: 'unused', maxRetries: 0 });
const ask = [{ role: 'user', content: 'hi' }];
const readNote = {
  type: 'function',
  function: {
    name: 'read_note',
    description: 'Read a file.',
    parameters: { type: 'object', properties: { path: { type: 'string' } }, required: ['path'] },
    parse: JSON.parse,
    function: ({ path }) => readFile(path, 'utf8'),
  },
};

async function textOf(stream, piece) {
  const pieces = [];
  for await (const event of stream) pieces.push(piece(event) ?? '');
  return { text: pieces.join(''), pieces: pieces.filter(Boolean).length };
}

const results = {
  chat: (await client.chat.completions.create({ model, messages: ask })).choices[0].message.content,
  stream: await textOf(
    await client.chat.completions.create({ model, messages: ask, stream: true }),
    (chunk) => chunk.choices[0]?.delta?.content,
  ),
  responses: (await client.responses.create({ model, input: 'hi' })).output_text,
  responsesStream: await textOf(
    await client.responses.create({ model, input: 'hi', stream: true }),
    (event) => (event.type === 'response.output_text.delta' ? event.delta : ''),
  ),
};
const runner = { model, messages: [{ role: 'user', content: prompt }], tools: [readNote] };
results.tool = await client.chat.completions.runTools(runner).finalContent();
results.streamedTool = await client.chat.completions.runTools({ ...runner, stream: true }).finalContent();
try {
  await client.chat.completions.create({ model: 'nothing-like-it', messages: ask });
} catch (error) {
  results.error = [error instanceof OpenAI.NotFoundError, error.status];
}
console.log(JSON.stringify(results));
