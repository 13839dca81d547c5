"""A report about runs and evaluations: one HTML file, and figures fit for a paper.

    reading  → records     what is on disk, as far as it can be read
    content                everything that is shown: settings · summary · examples · benchmarks · figures · diagnosis
    page                   its form: page.html.j2 and page.css, through `simplerl.markup`
    writing                the files

It imports nothing of the trainer, and not torch.
"""
