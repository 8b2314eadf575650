"""`/admin/v1`: on its own listener, for admin keys only."""

from fastapi import APIRouter

from gateway.routes.admin import adapters, experiments, exports, keys, overview, review

admin_routes = APIRouter(prefix="/admin/v1")
for _part in (adapters, experiments, exports, keys, overview, review):
    admin_routes.include_router(_part.api)
