"""The programme as an admin replaces it, and what members see of it. In a database of its own: it is one for all."""

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import httpx
import pytest
from dirty_equals import IsPartialDict, IsStr

from ledger.settings import Settings
from ledger.store.append import PostgresStore
from ledger.store.committer import Committer
from projections.catalogue import PROJECTIONS
from projections.releveling import get_releveling
from projections.runner import Runner
from tests.api.conftest import Api, running
from tests.scenarios.running_ledger import ledger
from workers.relevel import Releveler

PATH = "/api/admin/programme"
TWO_LEVELS = [{"name": "new", "tier": 1, "minPoints": 0}, {"name": "old", "tier": 2, "minPoints": 50, "perks": ["Tea"]}]


@pytest.fixture(scope="module")
async def own_database(stack: Any, template_database: str) -> AsyncIterator[str]:
    """A database nobody else has points in."""
    name = f"test_programme_{os.getpid()}"
    admin = await asyncpg.connect(stack.database_url)
    await admin.execute(f"CREATE DATABASE {name} TEMPLATE {template_database}")
    parts = urlsplit(stack.database_url)
    yield urlunsplit((parts.scheme, parts.netloc, "/" + name, parts.query, parts.fragment))
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await admin.close()


@pytest.fixture(scope="module")
async def alone(environ: dict[str, str], own_database: str) -> AsyncIterator[Api]:
    """The service with its projector on that database."""
    pool = await asyncpg.create_pool(own_database, min_size=1, max_size=4, server_settings={"role": "ledger_project"})
    runner = Runner(pool, PROJECTIONS, direct_url=own_database)
    task = asyncio.create_task(runner.run())
    async with running(Settings.from_env(environ | {"DATABASE_URL": own_database})) as api:
        while (await api.get("/api/points/my-points", "nobody", "buyer")).status_code == 503:
            pass
        yield api
    await runner.stop()
    await task
    await pool.close()


async def read(api: Api, role: str = "admin", **params: Any) -> httpx.Response:
    answer = await api.get(PATH, "root", role, **params)
    assert answer.status_code == 200, answer.text
    return answer


async def put(api: Api, body: Any, version: str | None, **more: str) -> httpx.Response:
    headers = api.bearer("root", "admin") | ({} if version is None else {"If-Match": version}) | more
    return await api.http.put(PATH, json=body, headers=headers)


async def change(api: Api, **fields: Any) -> httpx.Response:
    """Replace what there is by the same with other fields."""
    now = await read(api)
    answer = await put(api, now.json()["data"] | fields, now.headers["ETag"])
    assert answer.status_code == 200, answer.text
    return answer


async def test_at_first_it_is_the_default_at_version_0(alone: Api) -> None:
    for role in ("admin", "finance"):
        answer = await read(alone, role)
        assert answer.headers["ETag"] == '"0"'
        levels = answer.json()["data"].pop("levels")
        assert [(level["name"], level["tier"], level["minPoints"]) for level in levels] == [
            ("bronze", 1, 0),
            ("silver", 2, 1000),
            ("gold", 3, 2500),
            ("platinum", 4, 10000),
        ]
        assert answer.json()["data"] == IsPartialDict(
            pointsPerUnit="1",
            pointsPerCreditUnit=100,
            expiryDays=365,
            referralReward=100,
            reviewReward=10,
            platformFeeBps=0,
            timezone="UTC",
            refundPolicy="keep",
            valuationCurrency="USD",
        )


async def test_it_is_replaced_by_who_names_the_version_they_have_seen(alone: Api) -> None:
    seen = await read(alone)
    wanted = seen.json()["data"] | {"reviewReward": 11, "expiryDays": None, "timezone": "Europe/Berlin"}
    missing = await put(alone, wanted, None)
    assert (missing.status_code, missing.json()["error"]) == (400, "IF_MATCH_REQUIRED")
    done = await put(alone, wanted, seen.headers["ETag"])
    assert (done.status_code, done.json()["data"]) == (200, wanted)
    stale = await put(alone, wanted | {"reviewReward": 12}, seen.headers["ETag"])
    assert (stale.status_code, stale.json()["error"]) == (412, "STALE_VERSION")
    again = await read(alone, minPosition=done.headers["Ledger-Position"])
    assert again.json()["data"] == wanted
    assert int(again.headers["ETag"].strip('"')) == int(seen.headers["ETag"].strip('"')) + 1


async def test_the_same_as_it_is_changes_nothing(alone: Api) -> None:
    before = await read(alone)
    await change(alone)
    assert (await read(alone)).headers["ETag"] == before.headers["ETag"]


async def test_two_who_have_seen_the_same_do_not_both_replace_it(alone: Api) -> None:
    seen = await read(alone)
    wanted = [seen.json()["data"] | {"reviewReward": 20 + n} for n in range(5)]
    answers = await asyncio.gather(*(put(alone, body, seen.headers["ETag"]) for body in wanted))
    assert sorted(answer.status_code for answer in answers) == [200, 412, 412, 412, 412]


async def test_a_key_replays_the_replacement(alone: Api) -> None:
    seen = await read(alone)
    wanted = seen.json()["data"] | {"reviewReward": 31}
    first = await put(alone, wanted, seen.headers["ETag"], **{"Idempotency-Key": "programme-31"})
    again = await put(alone, wanted, seen.headers["ETag"], **{"Idempotency-Key": "programme-31"})
    assert (again.status_code, again.json()["data"]) == (200, first.json()["data"])
    assert again.headers["Idempotent-Replayed"] == "true"


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"pointsPerUnit": 1}, "pointsPerUnit"),
    ({"pointsPerUnit": "-1"}, "pointsPerUnit"),
    ({"pointsPerCreditUnit": 0}, "pointsPerCreditUnit"),
    ({"pointsPerCreditUnit": 10**30}, "pointsPerCreditUnit"),
    ({"expiryDays": 0}, "expiryDays"),
    ({"platformFeeBps": 10_001}, "platformFeeBps"),
    *(
        ({"timezone": zone}, "timezone")
        for zone in (
            "Mars/Olympus",
            "",
            "../etc/passwd",
            "Europe",
            "/etc/localtime",
            "localtime",
            "right/UTC",
            "posix/UTC",
            "Factory",
            "europe/berlin",
        )
    ),
    ({"refundPolicy": "never"}, "refundPolicy"),
    ({"valuationCurrency": "usd"}, "valuationCurrency"),
    ({"levels": []}, "levels"),
    ({"levels": [TWO_LEVELS[1]]}, "levels[0]"),
    ({"levels": [TWO_LEVELS[0], TWO_LEVELS[0]]}, "levels[1].name"),
    ({"levels": [TWO_LEVELS[0], TWO_LEVELS[1] | {"name": "  "}]}, "levels[1].name"),
    ({"levels": [TWO_LEVELS[0], TWO_LEVELS[1] | {"minPoints": 50.0}]}, "levels[1].minPoints"),
    ({"levels": [TWO_LEVELS[0], TWO_LEVELS[1] | {"minPoints": 2**53}]}, "levels[1].minPoints"),
    ({"levels": [TWO_LEVELS[0], TWO_LEVELS[1] | {"tier": 1}]}, "levels[1].tier"),
    ({"levels": [{"name": f"l{n}", "tier": n + 1, "minPoints": n} for n in range(101)]}, "levels"),
    ({"extra": 1}, "extra"),
]


@pytest.mark.parametrize(("fields", "named"), WRONG, ids=[str(fields)[:50] for fields, _ in WRONG])
async def test_what_cannot_be_is_refused_and_named(alone: Api, fields: dict[str, Any], named: str) -> None:
    seen = await read(alone)
    answer = await put(alone, seen.json()["data"] | fields, seen.headers["ETag"])
    assert (answer.status_code, answer.json()["error"]) == (400, "VALIDATION_FAILED"), answer.text
    assert named in [problem["field"] for problem in answer.json()["data"]]


@pytest.mark.parametrize("missing", ["expiryDays", "levels", "timezone"])
async def test_no_field_may_be_left_away(alone: Api, missing: str) -> None:
    seen = await read(alone)
    body = {name: value for name, value in seen.json()["data"].items() if name != missing}
    answer = await put(alone, body, seen.headers["ETag"])
    assert answer.json()["data"] == [{"field": missing, "message": "is required."}]


async def test_members_see_the_levels_of_now_and_earn_under_the_rules_of_now(alone: Api) -> None:
    user = await alone.member(points=60)
    replaced = await change(alone, levels=TWO_LEVELS, reviewReward=7)
    levels = (await alone.get("/api/points/levels", user, "buyer")).json()["data"]["levels"]
    assert [(level["name"], level["maxPoints"], level["perks"]) for level in levels] == [
        ("new", 49, []),
        ("old", None, ["Tea"]),
    ]
    points = await alone.points(user, replaced)
    assert (points["level"]["name"], points["nextLevel"]) == ("old", None)
    account = await alone.get(f"/api/points/accounts/{user}", minPosition=replaced.headers["Ledger-Position"])
    assert account.json()["data"]["level"]["name"] == "old"
    review = {"userId": user, "source": "review", "reference": "after-the-change"}
    assert (await alone.post("/api/points/earn", review)).json()["data"]["transaction"]["amount"] == 7


# ── from the command line ─────────────────────────────────────────────────────────────────────────────────────────


async def test_it_says_how_far_the_accounts_are_put_on_its_levels(alone: Api, own_database: str) -> None:
    user = await alone.member(points=60)
    changed = await change(alone, levels=[*TWO_LEVELS, {"name": "older", "tier": 3, "minPoints": 55}])
    version = (await read(alone)).json()["meta"]["releveling"]["programmeVersion"]
    assert (await read(alone)).json()["meta"]["releveling"] == IsPartialDict(state="waiting", done=0, total=0, moved=0)
    store = await PostgresStore(own_database).open()
    committer = await Committer(store).start()
    pool = await asyncpg.create_pool(own_database, min_size=0, max_size=2, server_settings={"role": "ledger_api"})
    while (await get_releveling(pool, version)).state != "done":
        await Releveler(pool, committer).relevel()
    await pool.close()
    await committer.stop()
    await store.close()
    said = (await read(alone, "finance")).json()["meta"]["releveling"]
    assert said == IsPartialDict(programmeVersion=version, state="done", startedAt=IsStr(), updatedAt=IsStr())
    assert said["done"] == said["total"] >= said["moved"] >= 1
    events = await alone.get("/api/admin/events", "root", "admin", stream=f"account-{user}", limit=1)
    newest = events.json()["data"]["events"][0]
    assert newest["position"] > int(changed.headers["Ledger-Position"])
    assert (newest["type"], newest["data"]["level"]) == ("points.level-crossed.v1", "older")


async def test_what_the_command_line_shows_it_takes_back(alone: Api, own_database: str, tmp_path: Path) -> None:
    seen = await read(alone)
    version = int(seen.headers["ETag"].strip('"'))
    file = tmp_path / "programme.json"
    place = {"DATABASE_URL": own_database, "LEDGER_DATA": str(tmp_path)}

    async def run(*arguments: str) -> Any:
        return await asyncio.to_thread(ledger, "programme", *arguments, **place)

    shown = await run("show", "--json")
    assert (shown.returncode, json.loads(shown.stdout)) == (0, seen.json()["data"])
    file.write_text(json.dumps(seen.json()["data"] | {"reviewReward": 77}))
    stale = await run("set", str(file), "--if-version", str(version + 1))
    assert (stale.returncode, stale.stdout) == (1, "")
    assert stale.stderr == f"ledger: The programme is at version {version}, not {version + 1}.\n"
    done = await run("set", str(file), "--if-version", str(version), "--json")
    assert (done.returncode, json.loads(done.stdout)["reviewReward"]) == (0, 77), done.stderr
    assert (await read(alone)).json()["data"]["reviewReward"] == 77
    for_people = await run("show")
    assert f"The programme is version {version + 1}." in for_people.stdout
    assert re.search(r"reviewReward +77", for_people.stdout)
    assert "Accounts are not yet being put on these levels" in for_people.stdout
    file.write_text(json.dumps(seen.json()["data"] | {"platformFeeBps": -1}))
    refused = await run("set", str(file))
    assert refused.returncode == 1
    assert refused.stderr.startswith("platformFeeBps must be a whole number from 0 to 10000.\nledger: ")
