// A program that uses the Vercel AI SDK as a client: `node client.mjs URL KEY` prints the results as JSON.

import { createOpenAI } from '@ai-sdk/openai';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { embed, generateObject, generateText, stepCountIs, streamText, tool } from 'ai';
import { z } from 'zod';

const [url, apiKey] = process.argv.slice(2);
const compatible = createOpenAICompatible({
  name: 'pulvinar',
  baseURL: `${url}/v1`,
  apiKey,
  includeUsage: true,
  supportsStructuredOutputs: true,
});
const openai = createOpenAI({ baseURL: `${url}/v1`, apiKey });

const bothCities = 'What is the weather in Oslo and in Lima?';
const tools = {
  get_weather: tool({
    description: 'The weather of a city.',
    inputSchema: z.object({ city: z.string() }),
    execute: async ({ city }) => `${city} is sunny`,
  }),
};
const person = z.object({ name: z.string(), age: z.int(), hobbies: z.array(z.string()) });
// One transparent pixel.
const pixel =
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==';

async function streamed(options) {
  const failures = [];
  const result = streamText({ ...options, maxRetries: 0, onError: ({ error }) => failures.push(String(error)) });
  try {
    let text = '';
    for await (const chunk of result.textStream) text += chunk;
    const steps = await result.steps;
    return {
      text,
      finishReason: await result.finishReason,
      outputTokens: (await result.usage).outputTokens,
      cities: steps.flatMap((step) => step.toolCalls.map((call) => call.input.city)),
      failures,
    };
  } catch (error) {
    return { failures: [...failures, String(error)] };
  }
}

async function generated(options) {
  const result = await generateText({ ...options, maxRetries: 0 });
  return {
    text: result.text,
    finishReason: result.finishReason,
    outputTokens: result.usage.outputTokens,
    cities: result.steps.flatMap((step) => step.toolCalls.map((call) => call.input.city)),
    failures: [],
  };
}

async function everything(model) {
  const hi = { model, system: 'Be brief.', prompt: 'hi' };
  const loop = { model, prompt: bothCities, tools, stopWhen: stepCountIs(3) };
  const content = [{ type: 'text', text: 'What is this?' }, { type: 'image', image: pixel, mediaType: 'image/png' }];
  return {
    generated: await generated(hi),
    streamed: await streamed(hi),
    loop: await generated(loop),
    streamedLoop: await streamed(loop),
    object: (await generateObject({ model, schema: person, prompt: 'Ada', maxRetries: 0 })).object,
    image: (await generated({ model, messages: [{ role: 'user', content }] })).text,
  };
}

const results = {
  chat: await everything(compatible('gpt-5.4')),
  responses: await everything(openai('gpt-5.4')),
  converted: await everything(openai('open-model')),
  auto: (await generateText({ model: compatible('auto'), prompt: 'hi' })).response.modelId,
  vector: (await embed({ model: compatible.embeddingModel('text-embedding-3-small'), value: 'four' })).embedding,
  cut: await streamed({ model: compatible('cut'), prompt: 'hi' }),
  error: await generated({ model: compatible('nothing-like-it'), prompt: 'hi' }).catch((error) => error.statusCode),
};
console.log(JSON.stringify(results));
