"""Cut links between hosts at random moments, for random times; each run ends in the cube of one machine.

    python tests/trials/hosts.py [--times 10] [--seed 1999] [--longest 40]

Needs root. A scheduler, two workers and a driver talk TLS between network namespaces, as the units of deploy/hosts start
them. Each time one link is cut in mid-run: that of a worker, of the driver or of the scheduler, who are started again as
their units say. Prints whose it was, for how long, how often a driver ended with 4, and how many blocks were drawn
again. The short form is tests/system/test_hosts.py.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from agreement import assert_same
from processes import BLOCKS, bench, told
from tls_cluster import tls_cluster

from covsvc.store.repository import open_cube


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1999, help="of the moments, and of whose link is cut for how long")
    parser.add_argument("--longest", type=float, default=40.0, help="seconds for which a link is cut")
    arguments = parser.parse_args()
    moments = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        with bench(Path(folder) / "local", seconds=0.0) as made:
            driver = made.run("--cluster", "none")
            assert driver.wait(300) == 0, told(driver)
            local = open_cube(made.store, "faults").load()
        (Path(folder) / "hosts").mkdir()
        lost, again = 0, 0
        with tls_cluster(Path(folder) / "hosts") as cluster:
            hosts = [*cluster.worker_hosts, cluster.driver_host, cluster.scheduler_host]
            for number in range(1, arguments.times + 1):
                study, drawn, begun = f"study{number}", cluster.made.blocks, time.monotonic()
                cluster.name_study(study)
                driver = cluster.run(study)
                cluster.made.wait_for_blocks(drawn + moments.randrange(1, BLOCKS // 2), driver)
                host, seconds = moments.choice(hosts), moments.uniform(0.1, arguments.longest)
                at = cluster.made.blocks - drawn
                host.cut()
                time.sleep(seconds)
                host.heal()
                assert driver.wait(300) == 0, told(driver)
                assert "Traceback" not in told(driver), told(driver)
                assert_same(open_cube(cluster.store(), study), local)
                losses = told(driver).count("ended with 4")
                more = cluster.made.blocks - drawn - BLOCKS
                lost, again = lost + losses, again + more
                print(
                    f"{number}: link of {host.name} cut after {at} blocks for {seconds:.1f} s; exit 4 {losses} times, "
                    f"{more} of {BLOCKS} blocks drawn again, same cube after {time.monotonic() - begun:.0f} s",
                    flush=True,
                )
    print(f"{arguments.times} cuts, seed {arguments.seed}: exit 4 {lost} times, {again} blocks drawn again in all")


if __name__ == "__main__":
    main()
