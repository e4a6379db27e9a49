"""What is an order worth before it runs? The Azure code workload at 90% of saturation."""

from headway.cli.simulate_options import (
    Workload,
    engine_of,
    pool_of,
    saturation_rps,
)
from headway.schedule.order import Fcfs, HighestResponseRatio, ShortestJob
from headway.sim.alone import share_of_work
from headway.sim.experiment import Experiment, compare
from headway.sim.site import Site
from headway.steptime.deployment_name import parse_deployment

deployment = parse_deployment("llama-3.1-8b@h100:tp1")
cluster = Site((pool_of(deployment, engine_of(deployment), replicas=1),))
workload = Workload.of("azure-code", requests=2000)
rate = 0.9 * saturation_rps(workload.draw(0, None), cluster)
traces = tuple(workload.draw(seed, rate) for seed in range(3))
work = share_of_work(cluster.pools[0], traces[0])

for row in compare(
    Experiment(traces, cluster, work, tau=0.4, lawful=True),
    [Fcfs(), ShortestJob(), HighestResponseRatio()],
):
    print(
        f"{row['policy']:<6}{row['predictions']:<10}"
        f"mean e2e {row['e2e_mean_s']:6.2f} s   P99 {row['e2e_p99_s']:6.1f} s"
    )
