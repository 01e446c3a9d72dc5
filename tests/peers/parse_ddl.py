"""Parses statements with sqlglot.

usage: parse_ddl.py FILE (JSON: a list of [dialect, statement])
prints: for each [type, kind, name, number of columns], the type `Command` for what sqlglot takes without understanding it
"""

import json
import sys

import sqlglot
from sqlglot import exp


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        statements = json.load(file)
    answers = []
    for dialect, statement in statements:
        [parsed] = sqlglot.parse(statement.rstrip(";"), read=dialect)
        kind = parsed.args.get("kind") if isinstance(parsed, exp.Create) else None
        if kind == "TABLE":
            columns = sum(isinstance(part, exp.ColumnDef) for part in parsed.this.expressions)
        elif kind == "VIEW":
            columns = len(parsed.expression.expressions)
        else:
            columns = 0
        name = parsed.find(exp.Table).sql() if kind else None
        if kind:
            # It has understood all of it: what it writes of it stays the same from then on.
            written = parsed.sql(dialect=dialect)
            assert sqlglot.parse_one(written, read=dialect).sql(dialect=dialect) == written, statement
        answers.append([type(parsed).__name__, kind, name, columns])
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
