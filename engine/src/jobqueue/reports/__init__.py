"""Notebooks as jobs, and the reports that they make.

A job runs a notebook in a kernel of its own, which never outlives the job. Its result is a `Report`: the executed notebook, and
one HTML file that asks nothing of any host. Nothing of Jupyter is imported until a job runs, so the web process never loads it.
"""
