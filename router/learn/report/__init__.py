"""The HTML report of an evaluation, with plots."""

from router.learn.report.page import write_html
from router.learn.report.summary import sentences
from router.learn.report.terms import FIGURES, MAIN_FIGURES

__all__ = ["FIGURES", "MAIN_FIGURES", "sentences", "write_html"]
