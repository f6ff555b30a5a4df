"""The bars of nola-gpu-bench that need PyTorch's side, and the table of all bars. Limits are those in its report, NAME.json."""

GRAPH = ", as a graph"
PRODUCTS = ("x · W (", "dy · Wᵀ (", "xᵀ · dy (")


def fill(report, rows):
    """Puts value, note and passed into every bar of the report that rows of the peer allow."""
    setting, bars = report["setting"], {bar["key"]: bar for bar in report["bars"]}
    ours = kernels(row for row in report["rows"] if row.get("precision") == setting["precision"])
    theirs = kernels(rows)
    shares = {name: 100 * theirs[name] / ours[name] for name in theirs if name in ours}
    products = {name: share for name, share in shares.items() if name.startswith(PRODUCTS)}
    cube = products.pop(f"x · W ({setting['tokens']}, {setting['tokens']})", None)
    put(bars["product-cube"], cube, "")
    if products:
        least = min(products, key=products.get)
        put(bars["product-shapes"], products[least], f"{least}; on average {number(sum(products.values()) / len(products))}")
    put(bars["attention"], shares.get("attention, both ways"), "")
    for key, our, their in (("lora", "LoRA", "LoRA"), ("published", "NOLA, shared basis", "NOLA")):
        mine = next((row for row in report["rows"] if row["kind"] == "step" and row["name"] == our), None)
        best = max((row for row in rows if row.get("method") == their), key=lambda row: row["examples_per_second"], default=None)
        if mine and best:
            put(bars[key], mine["examples_per_second"] / best["examples_per_second"], f"{number(mine['examples_per_second'])}/s against {number(best['examples_per_second'])}/s: {best['name']}")
    for bar in bars.values():
        if bar["missing"] == "no PyTorch":
            bar["missing"] = "one side of it did not run"


def kernels(rows):
    """Seconds of each kernel by its name; what is also replayed as a graph counts as the faster of both."""
    times = {}
    for row in rows:
        if row["kind"] == "kernel":
            name = row["name"].removesuffix(GRAPH)
            times[name] = min(row["seconds"], times.get(name, row["seconds"]))
    return times


def put(bar, value, note):
    if value is not None:
        passed = value >= bar["limit"] if bar["at_least"] else value <= bar["limit"]
        bar.update(value=value, passed=passed, missing=None, note=note)


def table(bars):
    """Markdown lines: measured, bar, and whether it is met."""
    lines = ["|  | work | measured | bar |  |", "|---|---|---|---|---|"]
    for bar in bars:
        unit = f" {bar['unit']}".rstrip()
        measured = f"not measured: {bar['missing']}" if bar["value"] is None else number(bar["value"]) + unit
        work = bar["work"] + (f" ({bar['note']})" if bar["note"] else "")
        verdict = {True: "pass", False: "**fail**", None: ""}[bar["passed"]]
        lines.append(f"| {bar['number']} | {work} | {measured} | {'≥' if bar['at_least'] else '≤'} {number(bar['limit'])}{unit} | {verdict} |")
    return lines


def number(value):
    return f"{value:.3f}".rstrip("0").rstrip(".")
