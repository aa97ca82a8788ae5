// conform.mjs: reads answers, one JSON object a line: { from, request, status, body }, and says of each how it is
// not as GitHub's own schemas have it. Ends with 1 where one is not. What has no schema of its own for a refusal is
// held to that of any (`basic-error`).
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import Ajv from 'ajv';
import formats from 'ajv-formats';

const schemas = JSON.parse(readFileSync(new URL('github-schemas.json', import.meta.url), 'utf8'));
const ajv = new Ajv({ strict: false, allErrors: true });
formats(ajv);
const basic = schemas['GET /user']['401'];
let seen = 0;
let wrong = 0;
for await (const line of createInterface({ input: process.stdin })) {
  const { from, request, status, body } = JSON.parse(line);
  seen += 1;
  const say = (why) => {
    wrong += 1;
    console.log(`${from}: ${request} ${status}: ${why}`);
  };
  const own = schemas[request];
  const schema = own[status] === undefined && status >= 400 ? basic : own[status];
  if (schema === undefined) {
    say('GitHub answers with no such status');
    continue;
  }
  if (schema === null) {
    if (body !== '') say('GitHub answers with no body');
    continue;
  }
  let value;
  try {
    value = JSON.parse(body);
  } catch {
    say('it is no JSON');
    continue;
  }
  const validate = ajv.compile(schema);
  if (!validate(value)) say(ajv.errorsText(validate.errors));
}
console.log(`${seen} answers, ${wrong} wrong`);
process.exit(wrong ? 1 : 0);
