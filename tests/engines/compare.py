"""Measures the engine and its peers in turn and prints a table in Markdown."""

import argparse
import datetime
import json
import os
import platform
import resource
import subprocess
import sys
from pathlib import Path
from statistics import median

import prepare
from prepare import HERE, ROOT, say
from sizes import BATCHES, CONTEXT, GENERATE, PROMPT

COLUMNS = {"cpu": "this engine, exact", "cpu:fast": "fast"}
PEERS = ["llama.cpp", "transformers"]
DTYPES = ["float32", "bfloat16"]
QUIET = 0.1  # share of the cores' time that others may take before figures are in doubt
ROWS = {"prompt": f"prompt of {PROMPT}"} | {str(n): f"generate, {n} sequence{'s'[:n - 1]}" for n in BATCHES}


def options():
    words = lambda text: text.split(",")
    cores = len(os.sched_getaffinity(0))
    target = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
    parser = argparse.ArgumentParser(prog="tests/peers", description=__doc__)
    add = parser.add_argument
    add("--rounds", type=int, default=3, metavar="N", help="times that all are measured, in turn (3)")
    add("--repeat", type=int, default=3, metavar="N", help="times within a round, of which the median counts (3)")
    add("--threads", type=int, default=cores, metavar="N", help="threads of each (all of the machine's)")
    add("--devices", type=words, default=list(COLUMNS), metavar="D,…", help=f"of this engine ({','.join(COLUMNS)})")
    add("--peers", type=words, default=PEERS, metavar="P,…", help=f"beside it ({','.join(PEERS)})")
    add("--dtypes", type=words, default=DTYPES, metavar="T,…", help=f"of transformers ({','.join(DTYPES)})")
    add("--worker", metavar="FILE", help="an assay-worker to measure instead of building one")
    add("--work", type=Path, default=target / "peers", metavar="FOLDER", help="for what is fetched and made (%(default)s)")
    add("--json", type=Path, metavar="FILE", help="for every round's figures")
    given = parser.parse_args()
    if min(given.rounds, given.repeat, given.threads) < 1:
        parser.error("--rounds, --repeat and --threads must be at least 1")
    for peer in given.peers:
        if peer not in PEERS:
            parser.error(f"there is no peer `{peer}`")
    return given


def output(*command, **settings):
    return subprocess.run([str(word) for word in command], check=True, stdout=subprocess.PIPE, text=True, **settings).stdout


class Ours:
    def __init__(self, binary, device, given):
        self.name = COLUMNS.get(device, device)
        self.command = [binary, "bench", "--json", "--device", device, "--threads", given.threads]
        self.repeat = given.repeat
        # Tried on a tiny model first: an older binary does not know every device.
        sizes = ["--model", "tiny", "--prompt", 8, "--contexts", 8, "--batches", 1, "--generate", 1, "--repeat", 1]
        tried = subprocess.run([str(word) for word in self.command + sizes], capture_output=True, text=True)
        if tried.returncode != 0:
            said = tried.stderr.strip().splitlines()
            raise RuntimeError(next((line for line in said if line.lower().startswith("error")), said[-1]))

    def measure(self):
        sizes = ["--prompt", PROMPT, "--batches", ",".join(map(str, BATCHES)), "--contexts", CONTEXT]
        command = self.command + sizes + ["--generate", GENERATE, "--repeat", self.repeat]
        found = json.loads(output(*command, stderr=subprocess.DEVNULL))
        self.what = f"{found['engine']}, {found['device']}, {found['scheme']}, embedding and head in bfloat16"
        self.bytes, self.host = found["weight_bytes"], found["host"]
        return {m["what"] if m["what"] == "prompt" else str(m["batch"]): m["rate"] for m in found["measures"]}


class Llama:
    name = "llama.cpp"

    def __init__(self, work, given):
        work.llama_cpp()
        self.what = f"llama.cpp of {prepare.BINDING} {prepare.VERSION}, native flags, Q4_0, embedding and head in Q6_K"
        self.bytes = work.model.stat().st_size
        threads = ["-m", work.model, "-t", given.threads]
        self.prompt = [work.tool("llama-bench"), *threads, "-p", PROMPT, "-n", 0, "-r", given.repeat, "-o", "json"]
        # One prompt for all sequences. A sequence's cache is rounded up to 256 tokens.
        room = max(BATCHES) * -(-(CONTEXT + GENERATE) // 256) * 256
        batches = ",".join(map(str, sorted(BATCHES * given.repeat)))
        sizes = ["-c", room, "-pps", "-npp", CONTEXT, "-ntg", GENERATE, "-npl", batches]
        self.decode = [work.tool("llama-batched-bench"), *threads, "-tb", given.threads, *sizes, "--output-format", "jsonl"]

    def measure(self):
        [prompt] = json.loads(output(*self.prompt, stderr=subprocess.DEVNULL))
        lines = output(*self.decode, stderr=subprocess.DEVNULL).splitlines()
        found = [json.loads(line) for line in lines if line.startswith("{")]
        decode = {str(n): median(m["speed_tg"] for m in found if m["pl"] == n) for n in BATCHES}
        return {"prompt": median(prompt["samples_ts"])} | decode


class Torch:
    def __init__(self, work, dtype, versions, given):
        self.name = f"transformers, {dtype}"
        self.what = f"{versions}, {dtype}, eager, dynamic cache"
        self.command = [work.python, HERE / "torch_bench.py", dtype, given.threads, given.repeat]

    def measure(self):
        found = json.loads(output(*self.command))
        self.bytes = found["bytes"]
        return {what: median(rates) for what, rates in found["rates"].items()}


def worked():
    """Seconds that all cores had, that they worked, and that they worked for what was started here."""
    ticks = [int(word) for word in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
    idle = ticks[3] + ticks[4]  # and waiting for a disk; what a hypervisor took counts as work
    ours = resource.getrusage(resource.RUSAGE_CHILDREN)
    second = os.sysconf("SC_CLK_TCK")
    return sum(ticks) / second, (sum(ticks) - idle) / second, ours.ru_utime + ours.ru_stime


def measure(engine):
    """Its figures, and the share of all cores that others took meanwhile."""
    before = worked()
    rates = engine.measure()
    had, busy, ours = (after - then for after, then in zip(worked(), before))
    return rates, max(0.0, (busy - ours) / had)


def gather(given):
    """What can be measured here, and a sentence for each that cannot."""
    engines, missing = [], []
    binary = given.worker or prepare.worker()
    for device in given.devices:
        try:
            engines.append(Ours(binary, device, given))
        except RuntimeError as error:
            missing.append(f"{device} was not measured: {error}")
    work = prepare.Work(given.work)
    work.folder.mkdir(parents=True, exist_ok=True)
    work.venv()
    if "llama.cpp" in given.peers:
        engines.append(Llama(work, given))
    if "transformers" in given.peers:
        try:
            versions = work.torch()
            engines += [Torch(work, dtype, versions, given) for dtype in given.dtypes]
        except subprocess.CalledProcessError as error:
            missing.append(f"transformers was not measured: it could not be installed ({error}).")
    return engines, missing


def spread(values, digits):
    """Median and range."""
    text = f"{median(values):.{digits}f}"
    if len(values) > 1:
        text += f" ({min(values):.{digits}f} – {max(values):.{digits}f})"
    return text


def table(rounds, names):
    """Ratios are of figures of the same round: machines change their pace between rounds."""
    peer = Llama.name
    over = [name for name in COLUMNS.values() if name in names and peer in names]
    heads = ["what", *names, *(f"{name.removeprefix('this engine, ')} / {peer}" for name in over)]
    lines = [heads, ["---"] + ["---:"] * (len(heads) - 1)]
    for row, title in ROWS.items():
        cells = [spread([r[name][row] for r in rounds], 1) for name in names]
        cells += [spread([r[name][row] / r[peer][row] for r in rounds], 2) for name in over]
        lines.append([title, *cells])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def machine(host, threads):
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    flags = next((line.split(":")[1].split() for line in lines if line.startswith(("flags", "Features"))), [])
    telling = ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "asimddp", "i8mm", "sve")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    has = ", ".join(flag for flag in telling if flag in flags)
    return f"{host} ({has}), {threads} threads, {memory:.0f} GiB, {platform.system()} {platform.release()}"


def main():
    given = options()
    engines, missing = gather(given)
    for sentence in missing:
        say(sentence)
    if not engines:
        sys.exit("nothing to measure")
    rounds, disturbed = [], []
    for number in range(given.rounds):
        rounds.append({})
        for engine in engines:
            say(f"round {number + 1} of {given.rounds}: {engine.name}")
            rates, others = measure(engine)
            rounds[-1][engine.name] = rates
            disturbed.append(others)
            say("  " + ", ".join(f"{ROWS[row]}: {rate:.1f}" for row, rate in rates.items()))
    host = next((engine.host for engine in engines if isinstance(engine, Ours)), platform.machine())
    where = machine(host, given.threads)
    date = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    print(
        f"Tokens a second; {GENERATE} of each sequence after {CONTEXT}. Median and range of the rounds, {given.rounds} in turn; "
        f"within a round the median of {given.repeat}.\n"
    )
    print(table(rounds, [engine.name for engine in engines]))
    print(f"\nMachine: {where}, {date}. Others took {median(disturbed):.0%} of the cores' time, at worst {max(disturbed):.0%}.")
    if max(disturbed) > QUIET:
        print("\nThe machine was not quiet: threads that wait for one another lose more than their share, and not all alike.")
    print()
    for engine in engines:
        print(f"- {engine.name}: {engine.what}, {engine.bytes / 1e9:.2f} GB of weights")
    for sentence in missing:
        print(f"- {sentence}")
    if given.json:
        what = [{"name": e.name, "what": e.what, "bytes": e.bytes} for e in engines]
        found = {"date": date, "machine": where, "others": disturbed, "repeat": given.repeat, "engines": what}
        found |= {"missing": missing, "rounds": rounds}
        given.json.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n")


main()
