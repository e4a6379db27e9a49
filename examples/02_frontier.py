"""Which deployments of a mixture are worth considering, with its own heads drafting."""

from headway.frontier.question import Question
from headway.frontier.search import front, search
from headway.hardware.catalogue import find_cluster
from headway.model.catalogue import find_model, find_precision
from headway.steptime.speculative import Speculation, mtp_draft

name = "deepseek-v3"
model = find_model(name)
speculation = Speculation(mtp_draft(model), acceptance=0.8, shares_weights=True)
question = Question(model, find_precision(name), context_tokens=8000, speculation=speculation)

for accelerator in ("h200", "b200", "mi355x"):
    points = front(search(question, find_cluster(accelerator)))
    affordable = points.take(points.usd_per_mtok <= 1.0)
    print(
        f"{accelerator:<7} {affordable.tok_per_s_per_user[0]:6.1f} tok/s/user for "
        f"${affordable.usd_per_mtok[0]:.2f}/Mtok on {affordable.num_accelerators[0]:.0f}, "
        f"{affordable.drafted[0]:.0f} tokens drafted"
    )
