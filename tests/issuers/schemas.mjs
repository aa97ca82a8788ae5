// schemas.mjs FROM TO: takes what GitHub says of the answers to a few requests out of its REST description, which
// has a hundred times as much.
import { readFileSync, writeFileSync } from 'node:fs';

const [, , from, to] = process.argv;
const { paths } = JSON.parse(readFileSync(from, 'utf8'));
const wanted = [
  'GET /user',
  'GET /installation/repositories',
  'POST /app/installations/{installation_id}/access_tokens',
  'DELETE /installation/token',
];
const kept = {};
for (const name of wanted) {
  const [method, path] = name.split(' ');
  const { responses } = paths[path][method.toLowerCase()];
  kept[name] = {};
  for (const [status, { content }] of Object.entries(responses)) {
    kept[name][status] = content?.['application/json']?.schema ?? null;
  }
}
writeFileSync(to, JSON.stringify(kept));
