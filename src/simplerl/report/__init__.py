"""A report about runs and evaluations: one HTML file, and figures fit for a paper.

    reading  → settings, outcomes, examples, figures     what is on disk, and what came of it
    content                                              everything that is shown
    page                                                 its form (page.html.j2, page.css), and its files

It imports nothing of the trainer, and not torch.
"""
