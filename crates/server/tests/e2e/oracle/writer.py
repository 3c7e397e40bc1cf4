# Carries out transactions that come as lines of JSON, and answers with what the table holds after each.
import json
import sqlite3
import sys

database = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
database.execute("pragma synchronous = off")
for line in sys.stdin:
    order = json.loads(line)
    answer = {}
    database.execute("begin immediate")
    for statement in order["statements"]:
        try:
            database.execute(statement)
        except (sqlite3.IntegrityError, sqlite3.OperationalError):
            pass  # its own work is undone; the transaction goes on
    if order["commit"]:
        last = database.execute(
            "select seq from sqlite_sequence where name = '_tidegate_log'"
        ).fetchone()
        answer["lsn"] = last and last[0]
        answer["rows"] = database.execute("select * from demo_things").fetchall()
        database.execute("commit")
    else:
        database.execute("rollback")
    print(json.dumps(answer), flush=True)
