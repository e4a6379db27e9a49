"""What to buy for 300 users, how sure that is, what the doubt costs, and what to measure first."""

import headway as hw

plan = hw.plan(
    "llama-3.1-8b",
    users=300,
    think="20s",
    prompt=1000,
    output=200,
    slo="ttft p95 < 500ms, tpot p95 < 15ms",
    on="h100,l40s",
    engine="vllm",
)
print(plan.report.title)

best = plan.best
assert best is not None
print(f"{best.num_accelerators} x {best.accelerator}, {best.layout}: ${best.usd_per_hour:.2f}/h")
print(f"sure: {best.probability:.0%}; the doubt costs ${plan.cost_of_doubt:,.0f} a month")
