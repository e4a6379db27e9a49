"""An engine that takes as long as an H100 would, and a load that measures it; no GPU is needed."""

import asyncio
import threading

from headway.engines.batch import in_thread
from headway.engines.server import EngineServer
from headway.engines.timed import TimedPipeline
from headway.load.measure import summarize
from headway.load.plan import plan_trace
from headway.load.run import Server, open_loop, run
from headway.steptime.analytic import AnalyticStepTime
from headway.steptime.deployment_name import parse_deployment
from headway.workload.profile import find_profile

loop = asyncio.new_event_loop()
threading.Thread(target=loop.run_forever, daemon=True).start()
times = AnalyticStepTime(parse_deployment("llama-3.1-8b@h100:tp1"))
engine = EngineServer(in_thread(TimedPipeline(times), 64), "h100", context_tokens=100_000)
port = asyncio.run_coroutine_threadsafe(engine.start(), loop).result()

# The lengths of a real trace; each answer's reaches the engine in a header, and nobody else.
trace = find_profile("azure-conv").generate(seed=1, count=20, rate_rps=40.0)
planned = plan_trace(trace, "h100", hide_lengths=True)
outcome = run(lambda: open_loop(Server(f"http://127.0.0.1:{port}/v1"), planned))
asyncio.run_coroutine_threadsafe(engine.stop(), loop).result()

row = summarize(outcome)
tokens = [answer.output_tokens for answer in outcome.answers]
print(f"{row.requests} requests, {row.unfinished} failed, {sum(tokens)} tokens")
print(f"every answer has its own length: {tokens == trace.output_tokens.tolist()}")
# A lone sequence decodes no faster than the weights can be read: 16 GB at 3.35 TB/s.
slow_enough = min(answer.record(0.0).tpot_s or 1.0 for answer in outcome.answers) > 0.0047
print(f"no token came faster than an H100 reads the weights: {slow_enough}")
