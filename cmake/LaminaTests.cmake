# How tests are built and run: limits, ranks, labels and environment in one place.
#
# Labels: unit (one process), mpi (under mpirun), cli (scripts that run the program), lint (include
# rules, headers), install (outside programs against the installed tree), cluster (hosts in network
# namespaces; skipped where there can be none).
#
# SPDX-License-Identifier: Apache-2.0

# One BLAS and OpenMP thread per rank: tests share the cores with other ranks and other tests.
set(lamina_test_environment OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1
                            UBSAN_OPTIONS=print_stacktrace=1)

# lamina_test_mpirun: the launcher that came with the MPI, with the flags that it needs here and those of
# the site (MPIEXEC_PREFLAGS). Launchers share few options: the number of ranks, and that is all.
set(lamina_test_mpirun ${MPIEXEC_EXECUTABLE})
set(lamina_mpi_environment ${lamina_test_environment})
# Ranks that wait keep their cores with most MPIs, so more ranks than cores may take many times as long.
set(lamina_mpi_timeout 600)
execute_process(COMMAND ${MPIEXEC_EXECUTABLE} --version OUTPUT_VARIABLE lamina_mpiexec_version
                ERROR_QUIET)
if(lamina_mpiexec_version MATCHES "Open MPI|OpenRTE")
    # Copying through the kernel (CMA) needs ptrace, which containers refuse; shared memory does not.
    # A rank that waits gives its core to who it waits for, also where other programs use the cores.
    list(APPEND lamina_mpi_environment OMPI_MCA_btl_vader_single_copy_mechanism=none
         OMPI_MCA_mpi_yield_when_idle=1)
    set(lamina_mpi_timeout 120)
    list(APPEND lamina_test_mpirun --oversubscribe --bind-to none)
    execute_process(COMMAND id -u OUTPUT_VARIABLE lamina_user_id
                    OUTPUT_STRIP_TRAILING_WHITESPACE)
    if(lamina_user_id STREQUAL "0")
        list(APPEND lamina_test_mpirun --allow-run-as-root)
    endif()
elseif(lamina_mpiexec_version MATCHES "HYDRA")
    list(APPEND lamina_test_mpirun -bind-to none)
endif()
list(APPEND lamina_test_mpirun ${MPIEXEC_PREFLAGS})

if("address" IN_LIST LAMINA_SANITIZE)
    # Tests ask for more memory than there is. Open MPI keeps some of its own until exit, so leaks
    # are looked for by the unit tests only.
    list(APPEND lamina_test_environment ASAN_OPTIONS=allocator_may_return_null=1)
    list(APPEND lamina_mpi_environment ASAN_OPTIONS=allocator_may_return_null=1:detect_leaks=0)
endif()

# lamina_add_test_support(source...): what every test links to; helpers are shared by all tests.
function(lamina_add_test_support)
    add_library(lamina_test_base INTERFACE)
    target_include_directories(
        lamina_test_base INTERFACE ${PROJECT_SOURCE_DIR}/tests/support ${PROJECT_SOURCE_DIR}/tests
                                   ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR}/src/compute)
    if(LAMINA_HAVE_ONEDNN)
        target_compile_definitions(lamina_test_base INTERFACE LMN__HAVE_ONEDNN)
    endif()
    target_link_libraries(lamina_test_base INTERFACE lamina::lamina PkgConfig::LAMINA_CMOCKA
                                                     ParallelHDF5::ParallelHDF5 ZLIB::ZLIB m)
    if(ARGN)
        add_library(lamina_test_support STATIC ${ARGN})
        lamina_configure_target(lamina_test_support)
        target_link_libraries(lamina_test_support PUBLIC lamina_test_base)
    else()
        add_library(lamina_test_support INTERFACE)
        target_link_libraries(lamina_test_support INTERFACE lamina_test_base)
    endif()
endfunction()

# lamina_add_test_program(name folder): one test program from tests/<folder>/<name>.c.
function(lamina_add_test_program name folder)
    add_executable(${folder}_${name} ${PROJECT_SOURCE_DIR}/tests/${folder}/${name}.c)
    lamina_configure_target(${folder}_${name})
    set_target_properties(${folder}_${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY
                                                       ${PROJECT_BINARY_DIR}/tests/${folder})
    target_link_libraries(${folder}_${name} PRIVATE lamina_test_support)
endfunction()

# lamina_add_unit_test(name): tests/unit/<name>.c in one process.
function(lamina_add_unit_test name)
    lamina_add_test_program(${name} unit)
    add_test(NAME unit.${name} COMMAND unit_${name})
    set_tests_properties(unit.${name} PROPERTIES TIMEOUT 120 LABELS unit
                                                 ENVIRONMENT "${lamina_test_environment}")
endfunction()

# lamina_add_mpi_test(name RANKS n...): tests/mpi/<name>.c once for each number of ranks.
#
# A failed assertion aborts its rank: otherwise CMocka would go on to the next case there, and the
# ranks would wait for each other in different collectives.
function(lamina_add_mpi_test name)
    cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "RANKS")
    lamina_add_test_program(${name} mpi)
    foreach(ranks IN LISTS arg_RANKS)
        add_test(NAME mpi.${name}.np${ranks} COMMAND ${lamina_test_mpirun} -n ${ranks}
                                                     $<TARGET_FILE:mpi_${name}>)
        set_tests_properties(
            mpi.${name}.np${ranks}
            PROPERTIES TIMEOUT ${lamina_mpi_timeout} LABELS mpi PROCESSORS ${ranks}
                       ENVIRONMENT "${lamina_mpi_environment};CMOCKA_TEST_ABORT=1")
    endforeach()
endfunction()

# lamina_add_cli_test(name): tests/cli/<name>.sh, told where the program and all else is.
#
# LAMINA is the program, MPIRUN the launcher with its flags, PYTHON has h5py, WORK is a scratch folder
# and the current one, SOURCE_DIR the top of the sources.
function(lamina_add_cli_test name)
    if(NOT TARGET lamina_program)
        return()
    endif()
    list(JOIN lamina_test_mpirun " " mpirun)
    set(work ${PROJECT_BINARY_DIR}/tests/cli/${name})
    file(MAKE_DIRECTORY ${work})
    set(environment ${lamina_mpi_environment} LAMINA=$<TARGET_FILE:lamina_program> MPIRUN=${mpirun}
                    PYTHON=${LAMINA_PYTHON} WORK=${work} SOURCE_DIR=${PROJECT_SOURCE_DIR})
    add_test(NAME cli.${name} COMMAND sh ${PROJECT_SOURCE_DIR}/tests/cli/${name}.sh
             WORKING_DIRECTORY ${work})
    set_tests_properties(cli.${name} PROPERTIES TIMEOUT 300 LABELS cli PROCESSORS 2
                                                ENVIRONMENT "${environment}")
endfunction()

# lamina_add_example_test(language PROGRAM command...): the example on one and on two ranks.
function(lamina_add_example_test language)
    cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "PROGRAM")
    foreach(ranks IN ITEMS 1 2)
        add_test(NAME mpi.example_${language}.np${ranks}
                 COMMAND sh ${PROJECT_SOURCE_DIR}/tests/examples/averages.sh ${ranks}
                         ${lamina_test_mpirun} -n ${ranks} ${arg_PROGRAM})
        set_tests_properties(mpi.example_${language}.np${ranks}
                             PROPERTIES TIMEOUT ${lamina_mpi_timeout} LABELS mpi PROCESSORS ${ranks}
                                        ENVIRONMENT "${lamina_example_environment}")
    endforeach()
endfunction()

# lamina_add_layout_test(language PROGRAM command...): its structures lie as those of C.
function(lamina_add_layout_test language)
    cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "PROGRAM")
    add_test(NAME unit.layout_${language}
             COMMAND sh ${PROJECT_SOURCE_DIR}/tests/examples/compare_layout.sh
                     $<TARGET_FILE:examples_layout> ${arg_PROGRAM})
    set_tests_properties(unit.layout_${language} PROPERTIES TIMEOUT 120 LABELS unit
                                                            ENVIRONMENT
                                                            "${lamina_example_environment}")
endfunction()

# lamina_add_cluster_test(name): tests/cluster/<name>.sh, which makes hosts with tests/cluster/lab.
#
# One at a time, as they measure bytes and rates. Without sanitizers, which slow down what is measured
# and find nothing that the other tests do not.
function(lamina_add_cluster_test name)
    if(LAMINA_SANITIZE)
        return()
    endif()
    set(folder ${PROJECT_SOURCE_DIR}/tests/cluster)
    set(work ${PROJECT_BINARY_DIR}/tests/cluster/${name})
    file(MAKE_DIRECTORY ${work})
    set(environment ${lamina_test_environment} LAB=${folder}/lab PYTHON=${LAMINA_PYTHON}
                    WORK=${work} SOURCE_DIR=${PROJECT_SOURCE_DIR}
                    WIRE_BYTES=$<TARGET_FILE:cluster_wire_bytes> MEET=$<TARGET_FILE:cluster_meet>
                    LAMINA_LAB_MPIRUN=${MPIEXEC_EXECUTABLE})
    if(TARGET lamina_program)
        list(APPEND environment LAMINA=$<TARGET_FILE:lamina_program>)
    endif()
    add_test(NAME cluster.${name} COMMAND sh ${folder}/${name}.sh WORKING_DIRECTORY ${work})
    set_tests_properties(
        cluster.${name} PROPERTIES TIMEOUT 300 LABELS cluster PROCESSORS 2 RESOURCE_LOCK cluster
                                   SKIP_RETURN_CODE 77 ENVIRONMENT "${environment}")
endfunction()

# lamina_add_lint_test(name command...): a check of the sources themselves.
function(lamina_add_lint_test name)
    add_test(NAME lint.${name} COMMAND ${ARGN})
    set_tests_properties(lint.${name} PROPERTIES TIMEOUT 120 LABELS lint)
endfunction()

# lamina_add_install_test(): install, and build an outside program against what was installed.
#
# Not with sanitizers, which an outside program does not link.
function(lamina_add_install_test)
    if(LAMINA_SANITIZE OR NOT TARGET lamina_program)
        return()
    endif()
    add_test(NAME install.outside_program
             COMMAND sh ${PROJECT_SOURCE_DIR}/tests/install/run.sh ${PROJECT_BINARY_DIR}
                     ${PROJECT_BINARY_DIR}/tests/install ${lamina_test_mpirun})
    set_tests_properties(
        install.outside_program PROPERTIES TIMEOUT 300 LABELS install PROCESSORS 2
                                           ENVIRONMENT "${lamina_mpi_environment}")
endfunction()
