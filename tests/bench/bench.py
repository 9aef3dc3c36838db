#!/usr/bin/env python
# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measures what the collection costs, against a live Dovecot, beside what people do without it.

Writes docs/benchmarks.md and docs/benchmarks.svg. All figures come from one run on one machine, so that their ratios
mean something; the seconds are those of the machine.
"""

import argparse
import sys

import report
from measure import Bench, LabError


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="seven rounds instead of two, and more fleets")
    bench = Bench(parser.parse_args().full)
    try:
        bench.run()
    except LabError as error:
        sys.exit(f"[bench] {error}")
    finally:
        bench.lab.down()
    report.write(bench)
    for aim in report.aims(bench):
        print(f"{'met   ' if aim.met else 'MISSED'}  {aim.text}: {aim.measured} ({aim.limit})")


if __name__ == "__main__":
    main()
