"""The HTML report of an evaluation, with plots."""

from router.learn.report.page import FIGURES, MAIN_FIGURES, write_html

__all__ = ["FIGURES", "MAIN_FIGURES", "write_html"]
