# A hub that starts no notebook server, knows two users, and takes an administrator's token from
# whoever starts it. Everything that it writes goes to the directory it is started in.
import os

port = int(os.environ["ISSUER_PORT"])
c = get_config()  # noqa: F821
c.JupyterHub.bind_url = f"http://127.0.0.1:{port}"
c.JupyterHub.hub_bind_url = f"http://127.0.0.1:{port + 1}"
c.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{port + 2}"
c.ConfigurableHTTPProxy.command = [os.environ["ISSUER_PROXY"]]
c.JupyterHub.authenticator_class = "null"
c.JupyterHub.spawner_class = "simple"
c.JupyterHub.db_url = "sqlite:///hub.sqlite"
c.JupyterHub.load_groups = {"testers": {"users": ["lore", "other"]}}
c.JupyterHub.services = [{"name": "tests", "api_token": os.environ["ISSUER_TOKEN"]}]
c.JupyterHub.load_roles = [
    {"name": "tests", "services": ["tests"], "scopes": ["admin:users", "tokens", "read:users"]},
]
