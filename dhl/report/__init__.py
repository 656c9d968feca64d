"""Figures and the HTML page.

Functions that read a file of the run raise `UserError` if it is missing or was edited by hand.
"""
