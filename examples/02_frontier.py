"""Which deployments of a mixture are worth considering, with its own heads drafting."""

from headway.frontier.question import Question
from headway.frontier.search import front, search
from headway.hardware.catalogue import find_cluster
from headway.model.catalogue import find_model
from headway.steptime.acceptance import speculation_by

model = find_model("deepseek-v3")
question = Question(
    model=model,
    prompt_tokens=8000,
    output_tokens=1000,
    engine="sglang",
    speculation=speculation_by("mtp", model),
)

for accelerator in ("h200", "b200", "mi355x"):
    points = front(search(question, find_cluster(accelerator)))
    affordable = points.take(points.usd_per_mtok_output <= 5.0)
    print(
        f"{accelerator:<7} {affordable.tok_per_s_per_user[0]:6.1f} tok/s/user for "
        f"${affordable.usd_per_mtok_output[0]:.2f}/Mtok of output on "
        f"{affordable.num_accelerators[0]:.0f}, {affordable.draft_tokens[0]:.0f} tokens drafted"
    )
