"""The reference experiments: runs, figures and tables. Started by bench/reproduce.

SPDX-License-Identifier: Apache-2.0
"""
