"""What measurements on a sample of questions say of all: intervals, paired tests, how many questions it takes.

Questions are the sample: what several answers to one question, or several wordings of it, gave is one row.
"""
