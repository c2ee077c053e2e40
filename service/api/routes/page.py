"""The playground: one static page that uses the public routes, for people."""

from importlib.resources import files

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

router = APIRouter()

PAGE = files("service.api.routes") / "page.html"


@router.get("/", response_class=HTMLResponse, include_in_schema=False)
async def page() -> HTMLResponse:
    """Return the page; it loads nothing from elsewhere."""
    return HTMLResponse(PAGE.read_text(encoding="utf-8"))
