"""A report about runs and evaluations: one HTML file, and figures fit for a paper.

    outcomes    what is on disk, and what came of it
    figures     what is drawn of it
    page        everything that is shown, its form (page.html.j2, page.css), and its files

It imports nothing of the trainer, and not torch.
"""
