"""How the code reads, in figures: sizes, `Any`, reads by string key, density, comments; and what a base install costs.

    python benchmarks/codebase.py [FOLDER] [--by-package] [--install [--run RUN --image IMAGE]] [--out FILE]

FOLDER is a checkout (default: this one), so that two versions can be compared. `--install` builds the wheel, installs
it with ONNX Runtime into a fresh virtual environment, and times `mlkdc report` and `predict` there, on the run folder
`--run` and the image `--image`. `--out` writes the figures with command, machine and versions; the README's size of a
base install is that of benchmarks/results/codebase.json.
"""

import argparse
import ast
import io
import json
import shlex
import subprocess
import sys
import tempfile
import time
import tokenize
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from mlkdc.resources import write_json
from mlkdc.runtime.machine import machine
from mlkdc.runtime.system import versions

ROOT = Path(__file__).parents[1]
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
REPEATS = 5


@dataclass
class Tally:
    """Counts over some files."""

    lengths: list[int] = field(default_factory=list)
    functions: list[int] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, path: Path) -> None:
        """Count one file too."""
        text = path.read_text(encoding="utf-8")
        self.lengths.append(len(text.splitlines()))
        tokens = tokenize.generate_tokens(io.StringIO(text).readline)
        self.counts["comment lines"] += sum(token.type == tokenize.COMMENT for token in tokens)
        for node in ast.walk(ast.parse(text)):
            self.counts.update(_kinds(node))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                self.functions.append((node.end_lineno or node.lineno) - node.lineno + 1)

    def figures(self) -> dict[str, float]:
        """The counts, and those that depend on the size of the code per 1,000 lines."""
        lines = sum(self.lengths)
        per_thousand = {f"{name} per 1,000 lines": 1000 * count / lines for name, count in self.counts.items()}
        return {
            "files": len(self.lengths),
            "lines": lines,
            "median file": median(self.lengths),
            "longest file": max(self.lengths),
            "functions over 40 lines": sum(length > 40 for length in self.functions),
            **dict(sorted(self.counts.items())),
            **{name: round(value, 1) for name, value in sorted(per_thousand.items())},
        }


def _kinds(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Name) and node.id == "Any":
        yield "Any"
    if isinstance(node, COMPREHENSIONS):
        yield "comprehensions"
    if isinstance(node, ast.IfExp):
        yield "ternaries"
    if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load) and _is_text(node.slice):
        yield "string-key reads"
    if isinstance(node, ast.Call) and _is_get(node.func) and node.args and _is_text(node.args[0]):
        yield "string-key reads"


def _is_get(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == "get"


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def code(folder: Path, by_package: bool) -> dict[str, dict[str, float]]:
    """Figures of the package in a checkout, in total and for each part."""
    total = Tally()
    parts: dict[str, Tally] = {}
    for path in sorted((folder / "mlkdc").rglob("*.py")):
        part = path.relative_to(folder / "mlkdc").parts[0]
        total.add(path)
        parts.setdefault(part, Tally()).add(path)
    figures = {"mlkdc": total.figures()}
    if by_package:
        for name, tally in parts.items():
            figures[name] = tally.figures()
    return figures


def _seconds(command: list[str]) -> float:
    """Median wall time of a command that must succeed."""
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - began)
    return round(median(times), 2)


def _megabytes(folder: Path) -> float:
    return round(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6, 1)


def install(folder: Path, run: Path | None, image: Path | None) -> dict[str, float]:
    """Sizes of the wheel and of a base environment with ONNX Runtime; seconds of commands in it."""
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        pip = [sys.executable, "-m", "pip", "--quiet"]
        subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", name, str(folder)], check=True)
        wheel = next(scratch.glob("*.whl"))
        subprocess.run([sys.executable, "-m", "venv", str(scratch / "venv")], check=True)
        python = scratch / "venv" / "bin" / "python"
        subprocess.run([str(python), "-m", "pip", "--quiet", "install", f"{wheel}[onnx-runtime]"], check=True)
        mlkdc = str(python.with_name("mlkdc"))
        figures = {
            "wheel, kB": round(wheel.stat().st_size / 1e3, 1),
            "environment, MB": _megabytes(scratch / "venv"),
            "mlkdc --help, s": _seconds([mlkdc, "--help"]),
        }
        if run:
            figures["mlkdc report, s"] = _seconds([mlkdc, "report", str(run)])
        if run and image:
            model = str(run / "export" / "onnx-fp32")
            figures["mlkdc predict, s"] = _seconds([mlkdc, "predict", str(image), "--model", model])
        return figures


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=ROOT)
    parser.add_argument("--install", action="store_true")
    parser.add_argument("--by-package", action="store_true")
    parser.add_argument("--run", type=Path, help="a run folder with export/onnx-fp32")
    parser.add_argument("--image", type=Path)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    figures = code(options.folder, options.by_package)
    if options.install:
        figures["install"] = install(options.folder, options.run, options.image)
    print(json.dumps(figures, indent=2))
    if options.out:
        command = shlex.join(["python", "benchmarks/codebase.py", *sys.argv[1:]])
        origin = {"format": 1, "command": command, "machine": machine().model_dump(), "versions": versions(("mlkdc",))}
        write_json(options.out, {**origin, "figures": figures})


if __name__ == "__main__":
    main()
