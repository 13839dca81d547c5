"""A report about runs and evaluations: one HTML file, and figures fit for a paper.

    reading  → settings, outcomes, examples     what is on disk, and what came of it
    content                                     everything that is shown, with the figures
    page                                        its form: page.html.j2 and page.css, through `simplerl.markup`; its files

It imports nothing of the trainer, and not torch.
"""
