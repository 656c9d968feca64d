# The preview, and from per-image results to tables, verdicts, figures and the report.


# Its inputs run before the trainings: a reader sees the data and the noise at the start of a run.
rule preview:
    input:
        sheets=files_of(CONFIG, RUN, "sheet"),
        images=files_of(CONFIG, RUN, "images"),
        noise=files_of(CONFIG, RUN, "noise"),
        baselines=files_of(CONFIG, RUN, "baseline"),
        templates=[
            project_file("report") / name
            for name in ("templates/preview.html.j2", "assets/report.css")
        ],
    output:
        html=RUN.preview,
    log:
        f"{ROOT}/logs/preview.log",
    benchmark:
        RUN.benchmark("preview")
    priority: 20
    conda:
        "../../environment.yml"
    params:
        config=configfile,
        settings=settings_digest(CONFIG.evaluation.protocol, methods_of()),
        code=code_digest("dhl.report.preview", "dhl.config.methods"),
    shell:
        "dhl preview --configfile {params.config} > {log} 2>&1"


rule table:
    input:
        evaluations=lambda w: evaluations(TABLE_PARTS[w.number]),
        failable=lambda w: before_the_evaluations(TABLE_PARTS[w.number]),
        published=PUBLISHED_VALUES,
    output:
        csv=shown(
            f"{ROOT}/tables/table{{number}}.csv", "Tables", "table", table="{number}"
        ),
        markdown=f"{ROOT}/tables/table{{number}}.md",
        latex=f"{ROOT}/tables/table{{number}}.tex",
        html=f"{ROOT}/tables/table{{number}}.html",
    log:
        f"{ROOT}/logs/table/{{number}}.log",
    benchmark:
        RUN.benchmark("table")
    wildcard_constraints:
        number="|".join(TABLE_PARTS),
    conda:
        "../../environment.yml"
    params:
        config=configfile,
        part=lambda w: TABLE_PARTS[w.number],
        failures=failures(),
        settings=statistics_of(),
        code=code_digest("dhl.analysis.tables", "dhl.config.methods"),
    shell:
        "dhl table --part {params.part} --configfile {params.config} > {log} 2>&1"


rule claims:
    input:
        evaluations=evaluations(),
        claims=project_file("report/claims.yaml"),
        calibration=CALIBRATION,
    output:
        csv=shown(RUN.claims, "Verdicts", "claims", file="claims"),
    log:
        f"{ROOT}/logs/claims.log",
    benchmark:
        RUN.benchmark("claims")
    conda:
        "../../environment.yml"
    params:
        config=configfile,
        settings=statistics_of(),
        code=code_digest("dhl.analysis.claims", "dhl.config.methods"),
    shell:
        "dhl claims --configfile {params.config} > {log} 2>&1"


rule sensitivity:
    input:
        evaluations=studied_evaluations(),
    output:
        csv=shown(RUN.sensitivity, "Sensitivity", "sensitivity", file="sensitivity"),
    log:
        f"{ROOT}/logs/sensitivity.log",
    benchmark:
        RUN.benchmark("sensitivity")
    conda:
        "../../environment.yml"
    params:
        config=configfile,
        settings=settings_digest(statistics_of(), CONFIG.sensitivity),
        code=code_digest("dhl.analysis.sensitivity", "dhl.config.methods"),
    shell:
        "dhl sensitivity --configfile {params.config} > {log} 2>&1"


rule figures:
    input:
        evaluations=evaluations(),
        curves=training_curves(),
        tables=tables(),
        sensitivity=sensitivity(),
    output:
        svg=shown_figures(),
        others=figures("png", "pdf", "csv"),
    log:
        f"{ROOT}/logs/figures.log",
    benchmark:
        RUN.benchmark("figure")
    conda:
        "../../environment.yml"
    threads: 2
    params:
        config=configfile,
        settings=settings_digest(statistics_of(), names_of_classes()),
        code=code_digest("dhl.report.figure_data", "dhl.config.methods"),
    shell:
        "dhl figures --processes {threads} --configfile {params.config} > {log} 2>&1"


# The configuration for the reader; the jobs read another copy, see `configfile`.
rule configuration:
    output:
        yaml=RUN.config,
    log:
        f"{ROOT}/logs/configuration.log",
    localrule: True
    conda:
        "../../environment.yml"
    params:
        config=CONFIGFILE,
    shell:
        "cp {params.config} {output.yaml} 2> {log}"


rule manifest:
    input:
        config=RUN.config,
        tables=tables(),
        figures=figures(),
        sensitivity=sensitivity(),
        claims=RUN.claims,
        plugins=plugin_files(),
    output:
        json=RUN.manifest,
    log:
        f"{ROOT}/logs/manifest.log",
    conda:
        "../../environment.yml"
    params:
        config=configfile,
    shell:
        "dhl manifest --configfile {params.config} > {log} 2>&1"


rule report:
    input:
        manifest=RUN.manifest,
        tables=tables("html"),
        claims=RUN.claims,
        sensitivity=sensitivity(),
        figures=figures(),
        preview=RUN.preview,
        published=PUBLISHED_VALUES,
        calibration=CALIBRATION,
        templates=[path for path in project_file("report").rglob("*") if path.is_file()],
    output:
        html=shown(RUN.report, "Report", "page", file="report"),
    log:
        f"{ROOT}/logs/report.log",
    conda:
        "../../environment.yml"
    params:
        config=configfile,
        code=code_digest("dhl.report.page", "dhl.config.methods"),
    shell:
        "dhl report --configfile {params.config} > {log} 2>&1"
