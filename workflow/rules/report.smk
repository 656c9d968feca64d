# From per-image results to tables, verdicts, figures and the report.


rule table:
    input:
        evaluations=lambda w: evaluations(TABLE_PARTS[int(w.number)]),
        published=PUBLISHED,
    output:
        multiext(f"{ROOT}/tables/table{{number}}", ".md", ".tex", ".html"),
        csv=shown(
            f"{ROOT}/tables/table{{number}}.csv", "Tables", "table", table="{number}"
        ),
    log:
        f"{ROOT}/logs/table/{{number}}.log",
    benchmark:
        f"{ROOT}/benchmarks/table/{{number}}.tsv"
    wildcard_constraints:
        number="|".join(map(str, TABLE_PARTS)),
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(240),
    params:
        part=lambda w: TABLE_PARTS[int(w.number)],
        settings=settings_digest(CONFIG.statistics, methods_of()),
        code=code_digest("dhl.analysis.tables"),
    shell:
        dhl("table --part {params.part}")


rule claims:
    input:
        evaluations(),
    output:
        shown(RUN.claims, "Verdicts", "claims", file="claims"),
    log:
        f"{ROOT}/logs/claims.log",
    benchmark:
        f"{ROOT}/benchmarks/claims/claims.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(240),
    params:
        settings=settings_digest(CONFIG.statistics, methods_of()),
        code=code_digest("dhl.analysis.claims"),
    shell:
        dhl("claims")


rule sensitivity:
    input:
        studied_evaluations(),
    output:
        shown(RUN.sensitivity, "Sensitivity", "sensitivity", file="sensitivity"),
    log:
        f"{ROOT}/logs/sensitivity.log",
    benchmark:
        f"{ROOT}/benchmarks/sensitivity/sensitivity.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(240),
    params:
        settings=settings_digest(CONFIG.statistics, CONFIG.sensitivity, methods_of()),
        code=code_digest("dhl.analysis.sensitivity"),
    shell:
        dhl("sensitivity")


rule figures:
    input:
        evaluations(),
        training_curves(),
        tables(),
        sensitivity(),
    output:
        shown_figures(),
        figures("png", "pdf", "csv"),
    log:
        f"{ROOT}/logs/figures.log",
    benchmark:
        f"{ROOT}/benchmarks/figures/figures.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(240),
    params:
        code=code_digest("dhl.report.figures", "dhl.report.figure_data"),
    shell:
        dhl("figures")


rule manifest:
    input:
        tables(),
        figures(),
        sensitivity(),
        files_of_own_code(),
        RUN.claims,
    output:
        RUN.manifest,
    log:
        f"{ROOT}/logs/manifest.log",
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(240),
    params:
        settings=settings_digest(CONFIG),
    shell:
        dhl("manifest")


rule write_report:
    input:
        RUN.manifest,
        tables("html"),
        RUN.claims,
        sensitivity(),
        figures(),
        PUBLISHED,
        sorted(project_file("report").rglob("*.*")),
    output:
        shown(RUN.report, "Report", "page", file="report"),
    log:
        f"{ROOT}/logs/report.log",
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(240),
    params:
        code=code_digest("dhl.report.page"),
    shell:
        dhl("report")
