"""What is an order worth before it runs? The Azure code workload at 90% of saturation."""

import headway as hw

report = hw.simulate(
    "azure-code",
    on="llama-3.1-8b@h100:tp1",
    policies=["sjf", "hrrn"],
    load=0.9,
    num_requests=2000,
    seeds=3,
    laws=True,
)
for row in report.rows:
    print(
        f"{row.policy:<6}{row.predictions:<10}"
        f"mean e2e {row.e2e_mean_s:6.2f} s   P99 {row.e2e_p99_s:6.1f} s"
    )
