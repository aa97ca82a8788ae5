// A stand-in for GitHub: what its documents say of tokens, limits and an app's installations, in the bodies of its
// REST description, to which a test holds it. For tests only:
//
//   ISSUER_TOKEN   the tokens, as JSON: { TOKEN: { scopes?, expires?, suspended? } }; with `scopes` it is a classic
//                  one, and `expires` is what the header says
//   ISSUER_APP     the app's client id; its installation is number 7
//   ISSUER_KEY     the app's public key, PEM
//
//   POST /-/limit  { status, headers, message }: so is the next request answered
//   GET  /-/living how many of the installation's tokens live
import { createServer } from 'node:http';
import { createPublicKey, randomBytes, verify } from 'node:crypto';

const port = Number(process.env.ISSUER_PORT);
const known = JSON.parse(process.env.ISSUER_TOKEN || '{}');
const app = process.env.ISSUER_APP;
const key = process.env.ISSUER_KEY && createPublicKey(process.env.ISSUER_KEY);
const INSTALLATION = 7;
const MAY = { contents: 'write', issues: 'read', metadata: 'read' };
const DOCS = 'https://docs.github.com/rest';
const living = new Map();
let limit;

const user = (login) => {
  const url = `https://api.github.com/users/${login}`;
  return {
    login, id: 1, node_id: 'MDQ6VXNlcjE=', avatar_url: 'https://github.com/images/error/octocat_happy.gif',
    gravatar_id: '', url, html_url: `https://github.com/${login}`, followers_url: `${url}/followers`,
    following_url: `${url}/following{/other_user}`, gists_url: `${url}/gists{/gist_id}`,
    starred_url: `${url}/starred{/owner}{/repo}`, subscriptions_url: `${url}/subscriptions`,
    organizations_url: `${url}/orgs`, repos_url: `${url}/repos`, events_url: `${url}/events{/privacy}`,
    received_events_url: `${url}/received_events`, type: 'User', site_admin: false, name: null, company: null,
    blog: '', location: null, email: null, hireable: null, bio: null, public_repos: 2, public_gists: 0,
    followers: 20, following: 0, created_at: '2008-01-14T04:33:35Z', updated_at: '2025-11-03T10:11:12Z',
  };
};

const wrong = (status, message) => ({
  status,
  body: { message, documentation_url: DOCS, status: String(status) },
});
const bad = () => wrong(401, 'Bad credentials');

// docs.github.com, "Generating a JSON Web Token (JWT) for a GitHub App": RS256, made before now, for ten minutes.
function signedByApp(jwt) {
  const parts = (jwt ?? '').split('.');
  if (!key || parts.length !== 3) return false;
  const read = (part) => JSON.parse(Buffer.from(part, 'base64url'));
  let head, claims;
  try {
    [head, claims] = [read(parts[0]), read(parts[1])];
  } catch {
    return false;
  }
  const now = Date.now() / 1000;
  return head.alg === 'RS256' && head.typ === 'JWT' && claims.iss === app
    && claims.iat <= now && claims.exp > now && claims.exp <= now + 600
    && verify('RSA-SHA256', Buffer.from(`${parts[0]}.${parts[1]}`), key, Buffer.from(parts[2], 'base64url'));
}

function mint(bearer, id, fields) {
  if (!signedByApp(bearer)) return wrong(401, 'A JSON web token could not be decoded');
  if (id !== INSTALLATION) return wrong(404, 'Not Found');
  const asked = fields.permissions ?? MAY;
  const more = Object.entries(asked).find(([what, how]) => !MAY[what] || (how === 'write' && MAY[what] !== 'write'));
  if (more) return wrong(422, 'The permissions requested are not granted to this installation.');
  const expires_at = new Date(Date.now() + 3600_000).toISOString().replace(/\.\d+Z$/, 'Z');
  // Since April 2026 such tokens hold a JWT.
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const claims = { exp: Math.floor(Date.parse(expires_at) / 1000), jti: randomBytes(9).toString('hex') };
  const token = `ghs_1234_${part({ alg: 'ES256' })}.${part(claims)}.${randomBytes(64).toString('base64url')}`;
  living.set(token, Date.parse(expires_at));
  const body = { token, expires_at, permissions: asked, repository_selection: 'selected' };
  return { status: 201, body };
}

function route(request, path, fields) {
  if (!request.headers['user-agent']) {
    return wrong(403, 'Request forbidden by administrative rules. Please make sure your request has a User-Agent header');
  }
  const what = `${request.method} ${path}`;
  const [scheme, bearer] = (request.headers.authorization ?? '').split(' ');
  const installation = /^POST \/app\/installations\/(\d+)\/access_tokens$/.exec(what);
  if (installation) return mint(scheme === 'Bearer' && bearer, Number(installation[1]), fields);
  const isOfApp = (living.get(bearer) ?? 0) > Date.now();
  if (what === 'GET /user') {
    if (isOfApp) return wrong(403, 'Resource not accessible by integration');
    const token = scheme && known[bearer];
    if (!token) return bad();
    if (token.suspended) return wrong(403, 'Sorry. Your account was suspended.');
    const headers = {};
    if (token.scopes !== undefined) headers['x-oauth-scopes'] = token.scopes;
    if (token.expires) headers['github-authentication-token-expiration'] = token.expires;
    return { status: 200, headers, body: user('octocat') };
  }
  if (what === 'GET /installation/repositories') {
    if (!isOfApp) return bad();
    return { status: 200, body: { total_count: 0, repository_selection: 'selected', repositories: [] } };
  }
  if (what === 'DELETE /installation/token') {
    if (!isOfApp) return bad();
    living.delete(bearer);
    return { status: 204 };
  }
  return wrong(404, 'Not Found');
}

function answer(response, { status, headers = {}, body }) {
  const reset = Math.floor(Date.now() / 1000) + 1800;
  const all = {
    'x-github-media-type': 'github.v3; format=json', 'x-ratelimit-limit': 5000, 'x-ratelimit-remaining': 4999,
    'x-ratelimit-used': 1, 'x-ratelimit-reset': reset, 'x-ratelimit-resource': 'core', ...headers,
  };
  if (body !== undefined) all['content-type'] = 'application/json; charset=utf-8';
  response.writeHead(status, all).end(body === undefined ? '' : JSON.stringify(body));
}

createServer(async (request, response) => {
  let text = '';
  for await (const chunk of request) text += chunk;
  const { pathname } = new URL(request.url, 'http://x');
  const fields = text ? JSON.parse(text) : {};
  if (pathname === '/-/limit') {
    limit = fields;
    return answer(response, { status: 204 });
  }
  if (pathname === '/-/living') return answer(response, { status: 200, body: [...living.keys()].length });
  if (limit) {
    const { status, headers, message } = limit;
    limit = undefined;
    return answer(response, { ...wrong(status, message), headers });
  }
  return answer(response, route(request, pathname, fields));
}).listen(port, '127.0.0.1');
