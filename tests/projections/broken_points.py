"""A points projection that chokes where it is told to, as code with a mistake in it would."""

from projections.points import Points


class BrokenPoints(Points):
    """`fold_error_at` positions cannot be folded, `flush_error_at` ones cannot be written."""

    def __init__(self, fold_error_at=(), flush_error_at=()):
        self.fold_error_at = set(fold_error_at)
        self.flush_error_at = set(flush_error_at)

    def page(self, build):
        return _BrokenPage(self, super().page(build))


class _BrokenPage:
    def __init__(self, projection, page):
        self.projection = projection
        self.page = page
        self.seen = set()

    def apply(self, event):
        if event.position in self.projection.fold_error_at:
            raise ValueError(f"cannot fold {event.position}, \0 or \ud800")
        self.seen.add(event.position)
        self.page.apply(event)

    async def flush(self, connection):
        await self.page.flush(connection)
        if self.seen & self.projection.flush_error_at:
            await connection.execute("SELECT 1 / 0")


class NewerPoints(Points):
    """The next release of the projection."""

    code_version = Points.code_version + 1
