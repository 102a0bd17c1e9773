"""How far back does each kind of network remember? It is trained on stories and asked: `make remember`.

Prints tables in Markdown and draws `remember.svg` beside this file.
"""

import json
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

from lstmgen.config import CellName, ModelConfig

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
BUILD = ROOT / "build" / "remember"
CHARACTERS, HELD_OUT = 32_000_000, 60_000  # of the text to learn from, and of that for --context
MINUTES = 4.9  # with the start, of which the reading of the text takes some fifteen seconds
TRAINING = (
    *("--level", "word", "--num-layers", "1", "--no-tie", "--dropout", "0", "--weight-drop", "0"),
    *("--learning-rate", "0.02", "--weight-decay", "0.01", "--embedding-size", "256"),
    *("--minutes", str(MINUTES), "--valid-fraction", "0.002"),
)
# A sample of the words is trained against, as it leaves time for more of the text.
GATED = (
    *("--adamw-share", "2", "--softmax-sample", "512"),
    *("--batch-size", "16", "--window", "256", "--memory", "500"),
)
CELLS: dict[CellName, tuple[str, ...]] = {
    "rnn": ("--batch-size", "16", "--window", "128"),  # it gains nothing from beyond 32 words
    "gru": GATED,
    "lstm": GATED,
}
LSTM_SIZE = 256
DISTANCES = ("0-50", "50-100", "100-200", "200-400", "400+")
CONTEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
COLOURS = {"rnn": "#d97706", "gru": "#16a34a", "lstm": "#3b82f6"}
Answers = dict[str, list[float]]  # by group: how many right, of how many, and how many by guessing


def lstmgen(*arguments: str) -> str:
    print("$ lstmgen", *arguments, file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "lstmgen", *arguments]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=BUILD).stdout


def make_texts() -> None:
    BUILD.mkdir(parents=True, exist_ok=True)
    for folder, seed, characters in ((".", "1", CHARACTERS), ("held-out", "2", HELD_OUT)):
        script = [sys.executable, str(ROOT / "data" / "make_lives.py"), "--seed", seed]
        more = ["--characters", str(characters), "--out", str(BUILD / folder)]
        subprocess.run([*script, *more], check=True)


def hidden_size(cell: CellName, vocab_size: int) -> int:
    """At which multiple of 16, as these are quicker, it has about as many parameters as the LSTM."""

    def parameters(cell: CellName, size: int) -> int:
        return ModelConfig(
            vocab_size=vocab_size, cell=cell, num_layers=1, hidden_size=size, embedding_size=256
        ).num_parameters

    wanted = parameters("lstm", LSTM_SIZE)
    return min(range(LSTM_SIZE, 4 * LSTM_SIZE, 16), key=lambda n: abs(parameters(cell, n) - wanted))


def num_words() -> int:
    """The size of the vocabulary, asked of a run of one step."""
    lstmgen("train", "lives.txt", "-m", "size", "--level", "word", "--steps", "1", "--overwrite",
            "--quiet", "--hidden-size", "4", "--num-layers", "1")  # fmt: skip
    from lstmgen import checkpoint

    return checkpoint.load_model(BUILD / "size").config.vocab_size


def answers(cell: str) -> Answers:
    """How many questions of each kind at each distance were answered right, or would be by guessing."""
    groups: Answers = defaultdict(lambda: [0, 0, 0])
    for line in lstmgen(
        "eval", "lives.choices.jsonl", "--choices", "--json", "-m", cell
    ).splitlines():
        record = json.loads(line)
        if "questions" in record and record["group"] != "all":
            kind, distance = record["group"].split()
            for group in (f"{kind} {distance}", f"all {distance}", f"{kind} all", "all all"):
                groups[group][0] += record["correct"]
                groups[group][1] += record["questions"]
                groups[group][2] += record["chance"] * record["questions"]
    return groups


def contexts(cell: str) -> dict[int, float]:
    """Bits per character of held-out stories with so many tokens of context."""
    wanted = ",".join(map(str, CONTEXTS))
    told = lstmgen("eval", "held-out/lives.txt", "--context", wanted, "--json", "-m", cell)
    records = [json.loads(line) for line in told.splitlines()]
    return {record["context"]: record["bits_per_character"] for record in records}


def table(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows])


def picture(found: dict[CellName, Answers], kind: str) -> str:
    """Share of right answers by distance, a line a network."""
    left, right, top, bottom = 60, 540, 40, 260

    def place(i: int, share: float) -> str:
        return f"{left + i * (right - left) / (len(DISTANCES) - 1):.0f},{bottom - share * (bottom - top):.0f}"

    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 310" font-family="sans-serif" '
        'font-size="13" fill="#767676">',
        "<title>Right answers by distance from the fact</title>",
        f'<text x="{left}" y="20">right answers, {kind}; four choices, guessing is the dashed line</text>',
    ]
    for share in (0, 0.25, 0.5, 0.75, 1):
        dashes = ' stroke-dasharray="6 4"' if share == 0.25 else ' stroke-opacity="0.25"'
        y = place(0, share).split(",")[1]
        parts.append(f'<path d="M{left},{y} H{right}" stroke="#767676"{dashes}/>')
        parts.append(f'<text x="{left - 8}" y="{int(y) + 4}" text-anchor="end">{share:.0%}</text>')
    for i, distance in enumerate(DISTANCES):
        x = place(i, 0).split(",")[0]
        parts.append(f'<text x="{x}" y="{bottom + 22}" text-anchor="middle">{distance}</text>')
    middle = (left + right) // 2
    parts.append(
        f'<text x="{middle}" y="{bottom + 44}" text-anchor="middle">characters between</text>'
    )
    ends: list[int] = []
    for cell, groups in found.items():
        shares = [groups[f"{kind} {distance}"] for distance in DISTANCES]
        points = [place(i, right / asked) for i, (right, asked, _) in enumerate(shares)]
        parts.append(
            f'<polyline points="{" ".join(points)}" fill="none" stroke="{COLOURS[cell]}" stroke-width="2.5"/>'
        )
        end = int(points[-1].split(",")[1]) + 4
        while any(abs(end - other) < 14 for other in ends):  # names that would lie on each other
            end += 2
        ends.append(end)
        parts.append(
            f'<text x="{right + 10}" y="{end}" fill="{COLOURS[cell]}">{cell.upper()}</text>'
        )
    return "\n".join([*parts, "</svg>", ""])


def shares(found: dict[CellName, Answers], kind: str) -> list[list[str]]:
    """A row of right answers for each network, and one for guessing; rounded down, so that 100 % is all."""

    def row(name: str, groups: Answers, which: int) -> list[str]:
        counts = [groups[f"{kind} {distance}"] for distance in (*DISTANCES, "all")]
        return [name, *(f"{int(100 * count[which] / count[1])}%" for count in counts)]

    rows = [row(cell.upper(), groups, 0) for cell, groups in found.items()]
    return [*rows, row("guessing", next(iter(found.values())), 2)]


def main() -> None:
    make_texts()
    vocab_size = num_words()
    found: dict[CellName, Answers] = {}
    known: dict[CellName, dict[int, float]] = {}
    about = []
    for cell, options in CELLS.items():
        size = hidden_size(cell, vocab_size)
        began = time.perf_counter()
        lstmgen("train", "lives.txt", "-m", cell, "--overwrite", "--cell", cell, "--hidden-size",
                str(size), *TRAINING, *options)  # fmt: skip
        seconds = time.perf_counter() - began
        found[cell], known[cell] = answers(cell), contexts(cell)
        about.append(f"{cell.upper()} 1 x {size}: {seconds:.0f} s")
    print("; ".join(about), end="\n\n")
    kinds = list(dict.fromkeys(group.split()[0] for group in found["lstm"]))
    for kind in sorted(kinds):
        print(table([kind, *DISTANCES, "all distances"], shares(found, kind)), end="\n\n")
    rows = [[c.upper(), *(f"{known[c][n]:.3f}" for n in CONTEXTS)] for c in CELLS]
    print(table(["bits a character by tokens of context", *map(str, CONTEXTS)], rows))
    (HERE / "remember.svg").write_text(picture(found, "language"), "utf-8")


if __name__ == "__main__":
    main()
