"""Which deployments of a mixture are worth considering, with its own heads drafting."""

import headway as hw

deepseek = hw.model("deepseek-v3")
front = hw.frontier(
    deepseek,
    on="h200,b200,mi355x",
    load=hw.Load(prompt=8000, output=1000),
    engine="sglang",
    speculation=hw.speculation("mtp", deepseek),
)

for row in front.rows:
    if row.on_front and row.tok_per_s_per_user.expected > 40 and row.usd_per_mtok_output:
        print(
            f"{row.num_accelerators:2} {row.accelerator:<7}{row.layout:<14}"
            f"{row.concurrency:4} at once  {row.tok_per_s_per_user.expected:5.1f} tok/s/user  "
            f"${row.usd_per_mtok_output.expected:6.2f}/Mtok of output"
        )
print(f"preferred: {front.preferred.num_accelerators} {front.preferred.accelerator}")
