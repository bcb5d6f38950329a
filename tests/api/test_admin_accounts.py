"""An account as an admin sees it, over HTTP and on the command line."""

import asyncio
import json
import re
from typing import Any

from dirty_equals import IsDatetime, IsInt, IsPartialDict

from tests.scenarios.running_ledger import ledger


def path(user: str, *more: str) -> str:
    return "/".join(["/api/admin/accounts", user, *more])


async def test_now_and_as_it_stood(api: Any) -> None:
    user = await api.member(points=100)
    first = int((await api.earn(user, 20)).headers["Ledger-Position"])
    last = await api.earn(user, 3)
    for role in ("admin", "finance"):
        now = await api.get(path(user), "root", role, minPosition=last.headers["Ledger-Position"])
        assert now.status_code == 200, now.text
        assert now.headers["ETag"] == f'"{now.json()["data"]["version"]}"'
        assert now.json()["data"] == {
            "userId": user,
            "balance": 123,
            "lifetimePoints": 123,
            "level": "bronze",
            "lots": [
                {"lotId": IsInt, "points": points, "remaining": points, "expiresAt": IsDatetime(iso_string=True) | None}
                for points in (lot["points"] for lot in now.json()["data"]["lots"])
            ],
            "lotsTotal": 3,
            "locked": False,
            "version": IsInt(gt=3),
            "position": IsInt(ge=int(last.headers["Ledger-Position"])),
            "asOf": IsDatetime(iso_string=True),
        }
        assert sorted(lot["points"] for lot in now.json()["data"]["lots"]) == [3, 20, 100]
    then = (await api.get(path(user), "root", "finance", asOf=first)).json()["data"]
    assert (then["balance"], then["position"], then["lotsTotal"]) == (120, first, 2)
    again = (await api.get(path(user), "root", "finance", asOf=then["asOf"])).json()["data"]
    assert again == then


async def test_explained(api: Any) -> None:
    user = await api.member(points=100)
    position = int((await api.earn(user, 20)).headers["Ledger-Position"])
    said = (await api.get(path(user, "explain"), "root", "finance")).json()["data"]
    assert said == IsPartialDict(userId=user, balance=120, residual=0, eventsTotal=2, lotsTotal=2)
    assert said["events"] == [
        {"position": IsInt(lt=position), "type": "points.earned.v1", "change": 100, "balanceAfter": 100},
        {"position": position, "type": "points.earned.v1", "change": 20, "balanceAfter": 120},
    ]
    then = (await api.get(path(user, "explain"), "root", "admin", asOf=position - 1)).json()["data"]
    assert (then["balance"], len(then["events"]), then["position"]) == (100, 1, position - 1)


async def test_what_cannot_be_answered(api: Any) -> None:
    user = await api.member()
    for more in ((), ("explain",)):
        for wrong in ("yesterday", "2026-02-30", "-1", "0", "999999999999", "2999-01-01", "2026-01-01T00:00:00"):
            answer = await api.get(path(user, *more), "root", "admin", asOf=wrong)
            assert (answer.status_code, answer.json()["data"][0]["field"]) == (400, "asOf"), wrong
        for moment in (None, "2000-01-01"):
            who = "nobody-there" if moment is None else user
            answer = await api.get(path(who, *more), "root", "admin", **({} if moment is None else {"asOf": moment}))
            assert (answer.status_code, answer.json()["error"]) == (404, "USER_NOT_FOUND")
        assert (await api.get(path("not an id", *more), "root", "admin")).status_code == 400


async def test_the_command_line_shows_the_same(api: Any, api_database: str, tmp_path: Any) -> None:
    user = await api.member(points=100)
    position = int((await api.earn(user, 2000)).headers["Ledger-Position"])
    place = {"DATABASE_URL": api_database, "LEDGER_DATA": str(tmp_path)}

    async def run(*arguments: str) -> Any:
        return await asyncio.to_thread(ledger, "points", "show", *arguments, **place)

    shown = await run(user, "--as-of", str(position), "--json")
    assert shown.returncode == 0, shown.stderr
    over_http = await api.get(path(user, "explain"), "root", "admin", asOf=position)
    assert json.loads(shown.stdout) == over_http.json()["data"]
    for_people = await run(user)
    assert re.search(r"balance +2,100", for_people.stdout), for_people.stdout
    assert re.search(r"level +silver", for_people.stdout)
    assert re.search(r"lot +points +remaining +expires", for_people.stdout)
    wrong = await run(user, "--as-of", "yesterday")
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert wrong.stderr.startswith("ledger: ")
    nobody = await run("nobody-there")
    assert (nobody.returncode, "No account for user nobody-there" in nobody.stderr) == (1, True)
