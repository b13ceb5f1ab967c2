"""The Celery app of the example: a durable task that has a model write a rule per column."""

import os
from pathlib import Path
from typing import Any, Literal

import columns
from celery import Celery
from pydantic import BaseModel

from milepost import LLMTask, Milepost
from milepost.budget import Budget
from milepost.llms import OpenAIClient

FOLDER = Path(os.environ["LLM_RULES_FOLDER"])

app = Celery("rules", broker="filesystem://")
app.conf.update(task_ignore_result=True, task_default_queue="rules")
for name in ("queue", "control"):
    (FOLDER / name).mkdir(exist_ok=True)
app.conf.broker_transport_options = {
    "data_folder_in": str(FOLDER / "queue"),
    "data_folder_out": str(FOLDER / "queue"),
    "control_folder": str(FOLDER / "control"),
    "polling_interval": 0.1,
}
milepost = Milepost(app, store=f"sqlite:///{FOLDER / 'jobs.db'}", namespace="rules")


class Rule(BaseModel):
    """What every value of a column must be."""

    kind: Literal["range", "not_empty", "length"]
    low: float
    high: float

    def holds(self, value: str) -> bool:
        """Whether a value keeps the rule; an empty one keeps all but ``not_empty``."""
        if self.kind == "not_empty" or not value:
            return bool(value) or self.kind != "not_empty"
        size = float(value) if self.kind == "range" and columns.is_number(value) else len(value)
        return self.low <= size <= self.high


PROMPT = """\
Write a validation rule for one column of a table of flights.
"range": a number from low to high. "length": a text of low to high characters.
"not_empty": there must be a value. Facts about the column: {facts}
Answer with the rule as JSON."""


@app.task(
    base=LLMTask,
    bind=True,
    llm_client=OpenAIClient(os.environ.get("LLM_RULES_URL")),
    llm_model=os.environ.get("LLM_RULES_MODEL", "smollm2"),
    llm_budget=Budget(tokens=50_000),
    llm_timeout=300.0,
)
async def write_rules(self: LLMTask, rows: int) -> list[dict[str, Any]]:
    """Ask for a rule per column, two at once, and hold the data against each."""
    data = columns.read(rows)
    facts = [columns.facts(name, values) for name, values in data.items()]
    answers = await self.llm_map(
        facts,
        lambda fact: PROMPT.replace("{facts}", str(fact)),
        key=lambda fact: str(fact["column"]),
        concurrency=2,
        response_model=Rule,
        max_tokens=120,
        temperature=0,
    )
    return [
        {
            "column": name,
            "rule": answer.parsed.model_dump(),
            "kept by": sum(map(answer.parsed.holds, data[name])) / rows,
        }
        for name, answer in zip(data, answers, strict=True)
    ]
