// oidc-provider with the two clients of the tests: one authenticates by header, one in the body and
// may only read. Its tokens live for seconds, and are told and ended by introspection and revocation.
import Provider from 'oidc-provider';

const port = Number(process.env.ISSUER_PORT);
const client = (client_id, token_endpoint_auth_method) => ({
  client_id,
  client_secret: process.env.ISSUER_TOKEN,
  token_endpoint_auth_method,
  grant_types: ['client_credentials'],
  redirect_uris: [],
  response_types: [],
});
const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [
    client('by basic', 'client_secret_basic'),
    { ...client('by-post', 'client_secret_post'), scope: 'read' },
  ],
  features: {
    clientCredentials: { enabled: true },
    introspection: { enabled: true, allowedPolicy: () => true },
    revocation: { enabled: true, allowedPolicy: () => true },
    devInteractions: { enabled: false },
  },
  scopes: ['read', 'write'],
  ttl: { ClientCredentials: Number(process.env.ISSUER_TTL ?? 3) },
});
provider.listen(port, '127.0.0.1');
