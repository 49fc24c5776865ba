"""The dashboards."""

from deploy.grafana.boards.capacity import CAPACITY
from deploy.grafana.boards.galleries import GALLERIES
from deploy.grafana.boards.overview import OVERVIEW
from deploy.grafana.boards.quality import QUALITY

BOARDS = (OVERVIEW, QUALITY, GALLERIES, CAPACITY)
