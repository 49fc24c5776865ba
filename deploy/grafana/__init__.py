"""Dashboards, made by `python -m deploy.grafana`."""
