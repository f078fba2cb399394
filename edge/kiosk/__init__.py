"""The kiosk's own screen: a local HTTP API and a small page, served by the agent. Page: docs/formats/http.md."""
